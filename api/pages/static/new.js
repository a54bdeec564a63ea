// A new job: what to prune, with what, to what end; the plan as a form, as JSON, as commands.
import { ask, attempt, complain, idempotencyKey } from "./service.js";
import { byId, el, count, percent } from "./elements.js";
import { fields } from "./form.js";
import { Source } from "./source.js";

const GOALS = [ // value: what stands in the field; plan(n): what is written; n(plan): the field from a plan
  { id: "smaller", before: "Make it", start: 10, after: "times smaller", min: 1, help: "One weight in so many stays. The zeros make packed.onnx small; for speed take the next.", plan: (n) => ({ budget: { pruning_rate: n } }), n: (p) => p.budget.pruning_rate },
  { id: "faster", before: "Make it", start: 2, after: "times as fast, about", min: 1, help: "So many times fewer multiply-adds: whole filters and neurons go, which speeds up every runtime. Accuracy suffers more than by single weights. The report says what was measured.", plan: (n) => ({ budget: { multiply_adds_share: Number((1 / n).toPrecision(6)) }, pattern: { kind: "filter" } }), n: (p) => p.budget.multiply_adds_share && Number((1 / p.budget.multiply_adds_share).toPrecision(4)) },
  { id: "drop", before: "Lose at most", start: 0.5, after: "points of accuracy, as small as that allows", min: 0, help: "The highest rate that keeps it is searched for: takes several times as long.", plan: (n) => ({ budget: { max_accuracy_drop: Number((n / 100).toPrecision(6)) } }), n: (p) => p.budget.max_accuracy_drop != null ? Number((100 * p.budget.max_accuracy_drop).toPrecision(6)) : undefined },
  { id: "bytes", before: "A file of at most", start: 100, after: "kB (packed.onnx)", min: 0, help: "The rate that gives such a file is worked out; a size that cannot be reached ends the job at once, with the least that could be.", plan: (n) => ({ budget: { bytes: Math.round(1000 * n) } }), n: (p) => p.budget.bytes && p.budget.bytes / 1000 },
  { id: "zeros", before: "Make", start: 90, after: "percent of the weights zero", min: 0, help: "The same as the first, in other words.", plan: (n) => ({ budget: { sparsity: Number((n / 100).toPrecision(6)) } }), n: (p) => p.budget.sparsity != null ? Number((100 * p.budget.sparsity).toPrecision(6)) : undefined },
];
const asked = new URLSearchParams(location.search);
let plan = { budget: { pruning_rate: 10 } }, methods, model = null, dataset = null, timer, naming, turn = 0, shown = false;
let posted = { text: null, key: null }; // two clicks on the same make one job
window.addEventListener("pageshow", (event) => { if (event.persisted) { posted = { text: null, key: null }; changed(); } });

function showGoals() {
  const current = GOALS.find((goal) => goal.n(plan) !== undefined && goal.n(plan) !== null) || GOALS[0];
  const boxes = GOALS.map((goal) => {
    const radio = el("input", { type: "radio", name: "goal", id: `goal-${goal.id}`, checked: goal === current, onchange: () => choose(goal, amount.value) });
    const amount = el("input", { type: "number", step: "any", min: goal.min, value: goal === current ? goal.n(plan) : goal.start, "aria-label": `${goal.before} so many ${goal.after}`, oninput: () => { radio.checked = true; choose(goal, amount.value); } });
    return el("div", { class: "goal" }, radio, " ", el("label", { for: radio.id }, goal.before), " ", amount, " ", el("span", {}, goal.after), el("small", {}, goal.help));
  });
  byId("goal").replaceChildren(byId("goal").firstElementChild, ...boxes);
}

function choose(goal, text) {
  if (plan.budget.multiply_adds_share && goal.id !== "faster" && plan.pattern?.kind === "filter") delete plan.pattern;
  Object.assign(plan, goal.plan(text === "" ? NaN : Number(text)));
  showFields();
  changed();
}

/** All fields but those of other methods. */
function showFields() {
  const own = Object.keys(methods.methods[plan.method || (plan.budget.max_accuracy_drop != null ? "progressive" : "direct")] || {});
  const others = Object.values(methods.methods).flatMap((parts) => Object.keys(parts)).filter((name) => !own.includes(name));
  const skip = ["budget", ...others];
  const before = plan.method;
  byId("fields").replaceChildren(...fields(methods.plan, plan, () => { if (plan.method !== before) showFields(); changed(); }, { skip }));
}

/** The plan has changed: show it everywhere, and ask whether it fits. */
function changed({ fromJson = false } = {}) {
  if (!fromJson) byId("json").value = JSON.stringify(plan, null, 2);
  commands();
  clearTimeout(timer);
  timer = setTimeout(check, 250);
}

function commands() {
  const here = location.origin, text = JSON.stringify(plan), quoted = `'${text.replaceAll("'", "'\\''")}'`;
  const name = byId("job-name").value.trim(), body = { model_id: model?.id || "MODEL_ID", dataset_id: dataset?.id || "DATASET_ID", plan, ...(name ? { name } : {}) };
  const files = [model?.name || "model.onnx", dataset?.name || "data.npz"];
  byId("curl").textContent = `curl -sf ${here}/v1/jobs -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  byId("command").textContent = `echo ${quoted} > plan.json\nsecateur prune ${body.model_id} ${body.dataset_id} --plan plan.json -o out/ --url ${here}`;
  byId("python").textContent = `from secateur import Secateur\n\nplan = ${python(plan)}\njob = Secateur("${here}").prune("${files[0]}", "${files[1]}", plan=plan).wait()\njob.download("out")`;
}

const python = (value) => JSON.stringify(value, null, 1).replace(/\n\s*/g, " ").replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None").replace(/([{[]) /g, "$1").replace(/ ([}\]])/g, "$1");

/** What was filled in stays with this entry of the history: for Back, and for a reload. */
const keep = () => shown && history.replaceState({ plan, model: model?.id, dataset: dataset?.id, name: byId("job-name").value }, "");

async function check() {
  keep();
  const mine = ++turn, body = { plan, ...(model ? { model_id: model.id } : {}), ...(model && dataset ? { dataset_id: dataset.id } : {}) };
  const lines = [];
  let wrong = [];
  try {
    const answer = await ask("/v1/plans/check", { method: "POST", body });
    if (mine !== turn) return;
    if (model && dataset) lines.push(el("p", { class: "good" }, "The plan fits this model and this data set."));
    if (answer.layers.length) lines.push(planned(answer));
  } catch (error) {
    if (mine !== turn) return;
    wrong = error.errors?.length ? error.errors : [{ detail: error.message }];
    lines.push(...wrong.map(({ pointer, detail }) => el("p", { class: "wrong" }, pointer === undefined ? detail : `${pointer.replace(/^\/plan/, "").slice(1).replaceAll("/", ".") || "Plan"}: ${detail}`)));
  }
  mark(wrong);
  byId("verdict").replaceChildren(...lines);
  byId("submit").disabled = !(model && dataset) || wrong.length > 0;
  const missing = [!model && "a model", !dataset && "a data set"].filter(Boolean);
  byId("why").textContent = missing.length ? `Still missing: ${missing.join(" and ")}.` : wrong.length ? "The plan does not fit yet; what to change stands above." : "";
}

function planned(answer) {
  const dense = answer.layers.filter((layer) => layer.pattern === null), total = answer.layers.reduce((sum, layer) => sum + layer.weights, 0);
  const held = dense.map((layer) => layer.name).join(", ");
  return el("p", { class: "soft" }, `${count(total)} weights in ${answer.layers.length} layers`, held ? `; ${held} stay${dense.length === 1 ? "s" : ""} dense (${percent(dense.reduce((sum, layer) => sum + layer.weights, 0) / total, 1)} of the weights)` : "", `; at most ${answer.highest_rate < 100 ? Number(answer.highest_rate.toPrecision(3)) : count(Math.floor(answer.highest_rate))}x is possible.`);
}

/** Say at the field what is wrong with it. */
function mark(errors) {
  for (const line of document.querySelectorAll("#fields .wrong")) line.textContent = "";
  for (const { pointer, detail } of errors) {
    const line = byId(`f${(pointer || "").replace(/^\/plan/, "").replaceAll("/", "-")}-wrong`);
    if (line) { line.textContent = detail; byId("fields-box").open = true; }
  }
}

byId("json").addEventListener("input", () => {
  try {
    const given = JSON.parse(byId("json").value);
    if (typeof given !== "object" || !given || !given.budget) throw new SyntaxError("a plan is an object with a budget");
    plan = given;
  } catch (error) {
    byId("verdict").replaceChildren(el("p", { class: "wrong" }, `This is no plan: ${error.message}`));
    byId("submit").disabled = true;
    return;
  }
  changed({ fromJson: true });
  showGoals();
  showFields();
});
byId("job-name").addEventListener("input", () => { commands(); clearTimeout(naming); naming = setTimeout(keep, 250); });
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("submit").disabled = true;
  const name = byId("job-name").value.trim(), body = { model_id: model.id, dataset_id: dataset.id, plan, ...(name ? { name } : {}) };
  if (posted.text !== JSON.stringify(body)) posted = { text: JSON.stringify(body), key: idempotencyKey() };
  attempt(async () => {
    const job = await ask("/v1/jobs", { method: "POST", body, headers: { "Idempotency-Key": posted.key } });
    location.href = `/jobs/${job.id}`;
  }).then(() => { byId("submit").disabled = false; window.scrollTo(0, 0); });
});

attempt(async () => {
  byId("submit").disabled = true;
  methods = await ask("/v1/methods");
  const kept = history.state;
  const like = !kept && asked.get("from") ? await ask(`/v1/jobs/${asked.get("from")}`) : null;
  if (like) plan = trimmed(like.plan, methods.plan, methods.plan);
  if (kept) ({ plan, name: byId("job-name").value } = kept);
  showGoals();
  showFields();
  const models = new Source(byId("model"), "models", methods, (row) => { model = row; changed(); });
  const datasets = new Source(byId("dataset"), "datasets", methods, (row) => { dataset = row; changed(); });
  await Promise.all([models.show(kept ? kept.model : like?.model_id || asked.get("model")), datasets.show(kept ? kept.dataset : like?.dataset_id || asked.get("dataset"))]);
  shown = true;
  changed();
  complain("");
});

/** A whole plan without what is at its default: as somebody would have written it. */
function trimmed(value, schema, root) {
  const found = schema.$ref ? root.$defs[schema.$ref.split("/").pop()] : schema;
  if (!found.properties || typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).map(([name, v]) => [name, trimmed(v, found.properties[name] || {}, root)]);
  return Object.fromEntries(kept.filter(([name, v]) => {
    const part = found.properties[name] || {}, isEmpty = v && typeof v === "object" && !Array.isArray(v) && !Object.keys(v).length;
    return !isEmpty && JSON.stringify(v) !== JSON.stringify(part.default) && !(Array.isArray(v) && !v.length);
  }));
}
