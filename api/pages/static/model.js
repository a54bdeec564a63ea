// One model: what was found in it, and its jobs.
import { ask, attempt, all, fileLink } from "./service.js";
import { byId, el, link, badge, bytes, day, goal, rate, change, outcome } from "./elements.js";
import { analysisOf } from "./analysis.js";

const id = location.pathname.split("/").pop();

attempt(async () => {
  const model = await ask(`/v1/models/${id}`);
  document.title = `${model.name} - Secateur`;
  byId("name").textContent = model.name;
  byId("about").replaceChildren(badge(model.status), ` ${bytes(model.bytes)} · ${id} · ${day(model.created_at)} · sha256 ${model.sha256.slice(0, 16)}…`);
  const again = model.status === "ready" ? [el("a", { class: "button main", href: `/new?model=${id}` }, "Prune it"), el("a", { class: "button", href: `/compare?model=${id}` }, "Compare its jobs")] : [];
  byId("actions").replaceChildren(...again, fileLink(`/v1/models/${id}/content`, "Download"));
  if (model.status === "ready") byId("analysis").replaceChildren(analysisOf(await ask(`/v1/models/${id}/analysis`)));
  else byId("analysis").replaceChildren(...model.problems.map((text) => el("p", { class: "note bad" }, text)));
  const jobs = await all(`/v1/jobs?model_id=${id}`, 50);
  byId("jobs").replaceChildren(...(jobs.length ? jobs : [null]).map((job) => job ? el("li", {}, link(`/jobs/${job.id}`, job.name || goal(job.plan)), " ", outcome(job), job.result ? ` ${rate(job.result.pruning_rate)}, ${change(job.result.metric, job.result.drop)}` : "") : el("li", {}, "None yet.")));
});
