// The list of jobs: what is asked for stands in the address, so that it can be shared and gone back to.
import { ask, repeat, attempt } from "./service.js";
import { ENDED, byId, el, link, outcome, row, refresh, duration, goal, rate, change, percent, day, bytes, score, smallest } from "./elements.js";

const LABELS = ["", "Status", "Progress", "Left", "Model", "Goal", "Rate", "Size", "Accuracy"];
const PAGE = 50;
const state = () => new URLSearchParams(location.search);

function shown(job) {
  const ended = ENDED.includes(job.status);
  const waits = job.queue_position ? `number ${job.queue_position} in the queue` : job.status === "queued" ? "far behind in the queue" : job.phase || "";
  const progress = ended ? [] : [el("span", { class: "grow" }, el("progress", { max: 1, value: job.progress, "aria-label": `Progress of ${job.name || job.id}` }), el("small", {}, `${percent(job.progress, 0)} ${waits}`))];
  const result = job.result;
  return row([
    [link(`/jobs/${job.id}`, job.name || `${job.model_name} ${goal(job.plan)}`), el("small", {}, [day(job.created_at), job.id, ...job.labels].join(" · "))],
    outcome(job), progress, ended ? "" : duration(job.eta_seconds), link(`/models/${job.model_id}`, job.model_name), goal(job.plan),
    rate(result?.pruning_rate), result ? bytes(smallest(result)) : "", result ? [el("span", {}, score(result.metric, result.accuracy_pruned), el("small", {}, change(result.metric, result.drop)))] : "",
  ], LABELS, [3, 6, 7, 8]);
}

let newest = 0;

async function show() {
  const asked = state(), mine = ++newest;
  const query = new URLSearchParams({ limit: PAGE });
  for (const name of ["q", "status", "model_id", "dataset_id", "label", "cursor"]) if (asked.get(name)) query.set(name, asked.get(name));
  const { items, next_cursor } = await ask(`/v1/jobs?${query}`);
  if (mine !== newest) return;
  refresh(byId("jobs"), items.map(shown));
  byId("empty").hidden = items.length > 0;
  const filtered = ["q", "status", "model_id", "dataset_id", "label"].some((name) => asked.get(name));
  if (!items.length) byId("empty").replaceChildren(...(filtered ? ["Nothing matches. ", link("/", "Show all jobs")] : ["No jobs yet. ", link("/new", "Prune a first model"), "."]));
  byId("older").hidden = !next_cursor;
  byId("older").onclick = () => go({ cursor: next_cursor });
  byId("newer").hidden = !asked.get("cursor");
}

function go(change, replace = false) {
  const next = state();
  for (const [name, value] of Object.entries(change)) if (value) next.set(name, value); else next.delete(name);
  history[replace ? "replaceState" : "pushState"]({}, "", next.size ? `?${next}` : "/");
  attempt(show);
  if (!replace) window.scrollTo(0, 0);
}

const filter = byId("filter");
for (const name of ["q", "status"]) filter.elements[name].value = state().get(name) || "";
let timer;
filter.elements.q.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => go({ q: filter.elements.q.value.trim(), cursor: null }, true), 200); });
filter.elements.status.addEventListener("change", () => go({ status: filter.elements.status.value, cursor: null }));
filter.addEventListener("submit", (event) => event.preventDefault());
byId("newer").onclick = () => history.back();
window.addEventListener("popstate", () => attempt(show));
repeat(show, 1.5);
