// Jobs of one model beside each other: accuracy against size and against latency, and their layers.
import { ask, attempt, all } from "./service.js";
import { byId, el, link, bar, row, count, bytes, rate, score, change, percent, number, metricName, isShare, goal, smallest } from "./elements.js";
import { figure, draw } from "./plots.js";

const asked = new URLSearchParams(location.search);
const MOST = 6; // columns of layers
let jobs = [], plots = null, turn = 0;
const reports = new Map();
const better = (metric) => (metric === "mse" ? -1 : 1);
const isSure = (r) => Math.max(r.speedup, 1 / r.speedup) > 1 + r.spread / 2; // more than the calls of one file differ by
const time = (r) => (isSure(r) ? 1 / r.speedup : 1); // both files of a job were timed in turn; those of two jobs were not
const nameOf = (job) => job.name || `${goal(job.plan)} (…${job.id.slice(-4)})`;

/** Those of which no other is at least as good in both, and better in one. cost: less is better. */
export function front(items, cost, gain) {
  return items.filter((a) => !items.some((b) => b !== a && cost(b) <= cost(a) && gain(b) >= gain(a) && (cost(b) < cost(a) || gain(b) > gain(a))));
}

async function choose(model, dataset = null) {
  history.replaceState({}, "", model ? `/compare?${new URLSearchParams({ model, ...(dataset ? { dataset } : {}) })}` : "/compare");
  const mine = ++turn;
  const found = model ? (await all(`/v1/jobs?status=succeeded&model_id=${model}`)).filter((job) => job.result) : [];
  if (mine !== turn) return;
  const sets = new Map(found.map((job) => [job.dataset_id, job.dataset_name])), data = sets.has(dataset) ? dataset : found[0]?.dataset_id;
  byId("dataset").replaceChildren(...[...sets].map(([id, name]) => el("option", { value: id, selected: id === data }, name)));
  byId("dataset").onchange = () => attempt(() => choose(model, byId("dataset").value));
  byId("dataset").parentElement.hidden = sets.size < 2;
  const metric = found.find((job) => job.dataset_id === data)?.result.metric;
  jobs = found.filter((job) => job.dataset_id === data && job.result.metric === metric); // on the same examples, by the same measure
  byId("empty").hidden = jobs.length > 0;
  byId("found").hidden = !jobs.length;
  if (!jobs.length) return;
  const wanted = (asked.get("jobs") || "").split(",").filter(Boolean);
  const gain = (job) => better(metric) * job.result.accuracy_pruned;
  const fronts = { size: front(jobs, (job) => smallest(job.result), gain), speed: front(jobs, (job) => time(job.result), gain) };
  byId("jobs").replaceChildren(...jobs.map((job, i) => {
    const r = job.result, box = el("input", { type: "checkbox", value: job.id, checked: i < MOST - 2 || wanted.includes(job.id), "aria-label": `Layers of ${nameOf(job)}`, onchange: () => attempt(layers) });
    const on = Object.entries(fronts).filter(([, members]) => members.includes(job)).map(([name]) => name).join(", ");
    return row([[box], link(`/jobs/${job.id}`, nameOf(job)), rate(r.pruning_rate), score(metric, r.accuracy_pruned), change(metric, r.drop), bytes(smallest(r)), number(r.pruned_ms), `${isSure(r) ? "" : "~"}${number(r.speedup)}x`, on], [], [2, 3, 4, 5, 6, 7]);
  }));
  await points(metric, fronts);
  await layers();
}

async function points(metric, fronts) {
  if (!plots) {
    const name = metricName(metric);
    const made = [figure(`${name} against size`, `${name} of each job against the bytes of its smallest file; the same numbers are in the table below`), figure(`${name} against latency`, `${name} of each job against the time of a call as a share of that of the dense file; the same numbers are in the table below`)];
    byId("charts").replaceChildren(...made.map(([box]) => box));
    plots = made.map(([, plot]) => plot);
  }
  const dense = jobs[0].result;
  const one = (plot, members, cost, denseCost, x) => {
    const line = [...members].sort((a, b) => cost(a) - cost(b)), y = (job) => job.result.accuracy_pruned;
    return draw(plot, (c) => [
      { name: "jobs", mode: "markers", x: jobs.map(cost), y: jobs.map(y), text: jobs.map((job) => `${nameOf(job)} (${rate(job.result.pruning_rate)})`), marker: { size: 9, color: c.soft }, hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>" },
      { name: "front", mode: "lines+markers", x: line.map(cost), y: line.map(y), text: line.map(nameOf), marker: { size: 13, symbol: "diamond", color: c.first }, line: { color: c.first }, hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>" },
      { name: "dense", mode: "markers", x: [denseCost], y: [dense.accuracy_dense], marker: { size: 12, symbol: "x", color: c.second }, hovertemplate: "dense<br>%{x}, %{y}<extra></extra>" },
    ], { x: { type: "log", ...x }, y: { title: "", tickformat: isShare(metric) ? ".2%" : "" } });
  };
  await one(plots[0], fronts.size, (job) => smallest(job.result), dense.bytes_dense, { title: "bytes of the smallest file" });
  await one(plots[1], fronts.speed, (job) => time(job.result), 1, { title: "time of a call, of the dense file's; one thread", tickformat: ".0%" });
}

async function layers() {
  const mine = turn, chosen = [...byId("jobs").querySelectorAll("input:checked")].slice(0, MOST).map((box) => jobs.find((job) => job.id === box.value));
  for (const job of chosen) if (!reports.has(job.id)) reports.set(job.id, await ask(`/v1/jobs/${job.id}/report`));
  if (mine !== turn) return;
  if (!chosen.length) { byId("layers").replaceChildren(el("p", {}, "Choose jobs in the table above.")); return; }
  const found = chosen.map((job) => reports.get(job.id).layers);
  const cell = (layer) => (layer ? [`${percent(layer.kept / layer.weights, 1)}`, bar(layer.kept / layer.weights)] : "");
  byId("layers").replaceChildren(el("table", { class: "tight" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Layer"), el("th", { scope: "col", class: "n" }, "Weights"), ...chosen.map((job) => el("th", { scope: "col" }, nameOf(job), el("small", {}, rate(job.result.pruning_rate)))))), el("tbody", {}, found[0].map((layer) => row([layer.name, count(layer.weights), ...found.map((list) => cell(list.find((other) => other.name === layer.name)))], [], [1])))));
}

attempt(async () => {
  const models = await all("/v1/models"), used = models.filter((model) => model.jobs > 0);
  const first = asked.get("model") || used[0]?.id || "";
  byId("model").replaceChildren(...(used.length ? used : [{ id: "", name: "no model has jobs yet" }]).map((model) => el("option", { value: model.id, selected: model.id === first }, model.name)));
  byId("model").onchange = () => attempt(() => choose(byId("model").value));
  await choose(first, asked.get("dataset"));
});
