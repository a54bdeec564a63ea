// One job, live: phase, curves, layers, events; at the end the result.
import { ask, repeat, attempt, fileLink } from "./service.js";
import { ENDED, byId, el, link, outcome, coded, bar, row, refresh, duration, goal, percent, number, score, count, bytes, rate, change, metricName, isShare, day } from "./elements.js";
import { figure, draw } from "./plots.js";

const id = location.pathname.split("/").pop();
let expected = null, reported = null; // asked for once: phases in their order and what to expect of them; the report
let seen = 0, analysis = null, plots = null, filled = "", events = [];

async function show() {
  const job = await ask(`/v1/jobs/${id}`);
  const ended = ENDED.includes(job.status);
  byId("job").hidden = false;
  await showState(job, ended);
  const isNew = await follow();
  if (isNew || !plots) await attemptQuietly(() => showRounds(job));
  if (job.status === "succeeded" && byId("result").hidden) await showResult(job);
  byId("result").hidden = job.status !== "succeeded";
  const waits = await showWebhooks(job, ended);
  return ended && !waits ? "done" : "again";
}

async function showState(job, ended) {
  document.title = `${job.name || id} (${job.status}) - Secateur`;
  byId("name").textContent = job.name || `${job.model_name} ${goal(job.plan)}`;
  const about = [outcome(job), " ", link(`/models/${job.model_id}`, job.model_name), ` on ${job.dataset_name} · ${goal(job.plan)} · ${job.id} · ${day(job.created_at)}`, ...job.labels.map((label) => ` · ${label}`)];
  if (byId("about").textContent !== about.map((part) => part.textContent ?? part).join("")) byId("about").replaceChildren(...about);
  byId("live").hidden = ended;
  const left = job.eta_seconds ? `, about ${duration(job.eta_seconds)} left` : "";
  const place = job.queue_position ? `, number ${job.queue_position} in the queue` : "";
  const waiting = job.status === "queued" ? `waits for a worker${place}` : `${job.phase || "begins"}${job.round ? `, round ${job.round}` : ""}, ${percent(job.progress, 0)}${left}`;
  byId("state").textContent = ended ? "" : job.status === "cancelling" ? "cancelling: its process is being ended" : `${job.status}: ${waiting}`;
  byId("progress").value = job.progress;
  expected ||= (await ask("/v1/methods")).phases;
  const phases = Object.keys(expected).filter((name) => name !== "quantize" || job.plan.quantize);
  const at = phases.indexOf(job.phase);
  refresh(byId("phases"), phases.map((name, i) => el("li", { class: i < at ? "done" : null, "aria-current": name === job.phase ? "step" : null }, name)));
  byId("expect").textContent = expected[job.phase] || "";
  byId("plan").textContent = JSON.stringify(job.plan, null, 2);
  actions(job, ended);
}

function actions(job, ended) {
  const post = (path, options) => () => attempt(async () => { await ask(`/v1/jobs/${id}${path}`, options); location.reload(); });
  const buttons = [];
  if (["queued", "running"].includes(job.status)) buttons.push(el("button", { type: "button", id: "cancel", class: "danger", onclick: () => attempt(() => ask(`/v1/jobs/${id}/cancel`, { method: "POST" })) }, "Cancel"));
  if (["failed", "cancelled"].includes(job.status)) buttons.push(el("button", { type: "button", id: "retry", onclick: post("/retry", { method: "POST" }) }, "Retry"));
  buttons.push(el("a", { class: "button", href: `/new?from=${id}` }, "Again, with changes"));
  if (job.status === "succeeded") buttons.push(el("a", { class: "button", href: `/compare?model=${job.model_id}&jobs=${id}` }, "Compare"));
  if (ended) buttons.push(el("button", { type: "button", id: "delete", class: "danger", onclick: () => confirm("Delete this job and its files?") && attempt(async () => { await ask(`/v1/jobs/${id}`, { method: "DELETE" }); location.href = "/"; }) }, "Delete"));
  const wanted = buttons.map((b) => b.textContent).join();
  if (byId("actions").dataset.of !== wanted) { byId("actions").dataset.of = wanted; byId("actions").replaceChildren(...buttons); }
  const notes = job.error ? [el("p", { class: "note bad", role: "alert", id: "error" }, `${job.status}: ${job.error}`, el("br"), el("small", {}, "Retry goes on from the last checkpoint; \"Again, with changes\" makes a new job from this plan."))] : [];
  refresh(byId("warnings"), [...notes, ...events.filter((e) => e.kind === "warning").map((e) => el("p", { class: "note" }, `Warning: ${e.data.text}.`))]);
}

/** What became of the messages about its end; true while the first try of one is still to come. */
async function showWebhooks(job, ended) {
  if (!ended || !job.webhook_url) return false;
  const { items } = await ask(`/v1/jobs/${id}/webhooks`);
  const words = { delivered: "was told", given_up: "could not be told", pending: "is being told" };
  byId("webhooks").hidden = !items.length;
  byId("webhooks").textContent = items.slice(-1).map((d) => `${new URL(d.url).host} ${words[d.status]} of the end${d.attempts > 1 ? `, in ${d.attempts} tries` : ""}${d.last_error ? `: ${d.last_error}` : ""}.`).join("");
  return items.some((d) => d.status === "pending" && !d.last_error);
}

/** Ask for the events that came since; true when a round is among them. */
async function follow() {
  let round = false;
  for (;;) {
    const { items, next_cursor } = await ask(`/v1/jobs/${id}/events?after=${seen}&limit=200`);
    for (const event of items) {
      seen = event.seq;
      round ||= event.kind === "round";
      events.push(event);
      byId("events").append(el("li", {}, `${new Date(event.at).toLocaleTimeString()} ${said(event)}`));
    }
    if (!next_cursor) return round;
  }
}

function said({ kind, data }) {
  if (kind === "round") return `${data.phase} round ${data.round}: ${metricName(data.metric).toLowerCase()} ${score(data.metric, data.accuracy)}`;
  if (kind === "phase") return `phase ${data.phase}`;
  if (kind === "status") return [data.status, data.worker && `on ${data.worker}`, data.reason, data.error].filter(Boolean).join(": ");
  return `${kind}: ${data.text || data.reason || JSON.stringify(data)}`;
}

/** Asked for once. */
async function theReport() {
  return (reported ||= await ask(`/v1/jobs/${id}/report`));
}

/** Drawing that fails must not stop the page. */
async function attemptQuietly(action) {
  try { await action(); } catch (error) { console.warn(error); }
}

async function showRounds(job) {
  const m = await ask(`/v1/jobs/${id}/metrics`);
  if (!m.step.length) return;
  byId("course").hidden = false;
  const metric = m.metric[0] || "top1", of = (value) => score(metric, value);
  byId("metric").textContent = metricName(metric);
  refresh(byId("rounds"), m.step.map((_, i) => row([m.phase[i], m.round[i], number(m.loss[i]), of(m.accuracy[i]), of(m.accuracy_pruned[i]), number(m.primal[i]), number(m.dual[i]), number(m.rho[i]), number(m.pruning_rate[i])], [], [1, 2, 3, 4, 5, 6, 7, 8])));
  await showLayers(job, m.layers);
  await curves(m, metric);
}

async function showLayers(job, shares) {
  analysis ||= await ask(`/v1/models/${job.model_id}/analysis`);
  const report = job.status === "succeeded" ? await theReport() : null;
  const exact = report && Object.fromEntries(report.layers.map((layer) => [layer.name, layer.sparsity]));
  if (exact) byId("layers-help").textContent = "Share of each layer's weights that are zero, counted in the delivered file.";
  const values = exact || shares, now = JSON.stringify(values);
  if (now === filled) return;
  filled = now;
  const known = analysis.layers.filter((layer) => layer.name in values);
  if (byId("layers").querySelectorAll("tbody tr").length !== known.length) {
    byId("layers").replaceChildren(el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Layers" }, el("table", { class: "tight" }, el("thead", {}, el("tr", {}, ...["Layer", "Kind", "Weights", "Zeros", ""].map((head, i) => el("th", { scope: "col", class: i === 2 || i === 3 ? "n" : null }, head || el("span", { class: "hidden" }, "Bar"))))), el("tbody", {}, known.map((layer) => row([layer.name, layer.kind, count(layer.weights), "", bar(0)], [], [2, 3]))))));
  }
  const lines = byId("layers").querySelectorAll("tbody tr");
  known.forEach((layer, i) => {
    lines[i].children[3].textContent = percent(values[layer.name], 1);
    lines[i].querySelector("i").style.width = `${100 * values[layer.name]}%`;
  });
}

async function curves(m, metric) {
  if (!plots) {
    const name = metricName(metric).toLowerCase();
    const made = [
      [`${metricName(metric)} on the validation split`, `Curves of ${name} of the weights and of their projection over the rounds`], ["Loss", "Curve of the training loss over the rounds"],
      ["Residuals of ADMM", "Curves of the primal and the dual residual over the rounds, on a logarithmic axis"], ["rho", "Curve of the penalty rho over the rounds"],
    ].map(([title, label]) => figure(title, label));
    byId("charts").replaceChildren(...made.map(([box]) => box));
    plots = made.map(([, plot]) => plot);
  }
  const began = m.step.filter((_, i) => i && m.phase[i] !== m.phase[i - 1]);
  const line = (name, values, color, dash) => ({ x: m.step, y: values, name, mode: "lines+markers", connectgaps: false, marker: { size: 5 }, line: { color, dash } });
  const x = { title: "round of the job", rangemode: "tozero" };
  const shapes = began.map((step) => step - 0.5);
  await draw(plots[0], (c) => [line("weights", m.accuracy, c.first), line("pruned", m.accuracy_pruned, c.second, "dash")], { x, y: { title: "", tickformat: isShare(metric) ? ".1%" : "" }, shapes });
  await draw(plots[1], (c) => [line("loss", m.loss, c.first)], { x, y: { title: "" }, shapes });
  const some = (values) => values.some((value) => value != null);
  for (const [i, has] of [[2, some(m.primal)], [3, some(m.rho)]]) plots[i].parentElement.hidden = !has;
  if (some(m.primal)) await draw(plots[2], (c) => [line("primal", m.primal, c.first), line("dual", m.dual, c.second, "dash")], { x, y: { title: "", type: "log" }, shapes });
  if (some(m.rho)) await draw(plots[3], (c) => [line("rho", m.rho, c.first)], { x, y: { title: "", type: "log" }, shapes });
}

async function showResult(job) {
  const r = job.result, { items } = await ask(`/v1/jobs/${id}/artifacts`);
  if (r) {
    byId("headline").textContent = `${r.headline}.`;
    const lines = [
      [metricName(r.metric), score(r.metric, r.accuracy_dense), score(r.metric, r.accuracy_pruned), change(r.metric, r.drop)], ["Weights", count(r.weights_total), count(r.weights_kept), rate(r.pruning_rate)],
      ["pruned.onnx", bytes(r.bytes_dense), bytes(r.bytes_pruned), rate(r.bytes_dense / r.bytes_pruned)], ...(r.bytes_packed ? [["packed.onnx", bytes(r.bytes_dense), bytes(r.bytes_packed), rate(r.bytes_dense / r.bytes_packed)]] : []),
      ["Milliseconds a call", number(r.dense_ms), number(r.pruned_ms), r.speed || `${number(r.speedup)}x`],
    ];
    byId("numbers").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...["", "Dense", "Pruned", "Gain"].map((head, i) => el("th", { scope: "col", class: i ? "n" : null }, head || el("span", { class: "hidden" }, "What"))))), el("tbody", {}, lines.map((cells) => row(cells, [], [1, 2, 3])))));
    if (!r.goal_met) byId("headline").after(el("p", { class: "note bad" }, "The goal was not met. The report says by how much, and what to do."));
  }
  const report = await theReport();
  byId("notes").replaceChildren(...report.notes.map((text) => el("p", { class: "note" }, `${text[0].toUpperCase()}${text.slice(1)}.`)));
  byId("next").replaceChildren(...report.next.map((text) => el("li", {}, coded(`${text[0].toUpperCase()}${text.slice(1)}.`))));
  byId("next-box").hidden = !report.next.length;
  byId("files").replaceChildren(el("li", {}, fileLink(`/v1/jobs/${id}/report`, "Report", { inTab: true }), ": what was measured, what was checked, what next"), ...items.map((file) => el("li", {}, fileLink(file.url, file.name), ` ${bytes(file.bytes)}`)));
}

repeat(show);
