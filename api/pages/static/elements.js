// Elements and words. Everything shown is set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** el("p", {class: "soft"}, "text", node, ...); on...: listeners; null children are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

export const link = (href, text) => el("a", { href }, text);
export const badge = (status) => el("span", { class: `badge ${status}` }, status);
/** The status of a job; where it succeeded but not as hoped, that too. */
export const outcome = (job) => {
  const but = job.result && (!job.result.goal_met ? "goal missed" : job.result.lost_much && "lost much");
  return but ? el("span", { class: "badge doubtful" }, `${job.status}, ${but}`) : badge(job.status);
};
/** A sentence whose pieces of JSON are set as code. */
export const coded = (text) => text.split(/(\{(?:[^{}]|\{[^{}]*\})*\})/).map((part, i) => (i % 2 ? el("code", {}, part) : part));
export const bar = (share) => { const fill = el("i"); fill.style.width = `${100 * share}%`; return el("div", { class: "bar", "aria-hidden": "true" }, fill); };
export const number = (value) => (value == null ? "" : Number(value.toPrecision(3)).toString());
export const count = (value) => (value == null ? "" : value.toLocaleString("en"));
export const percent = (share, digits = 2) => (share == null ? "" : `${(100 * share).toFixed(digits)} %`);
export const rate = (value) => (value == null ? "" : `${value >= 100 ? Math.round(value) : Number(value.toPrecision(3))}x`);
export const shape = (sizes) => sizes.map((s) => s ?? "?").join(" × ");
export const day = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export function bytes(n) {
  if (n == null) return "";
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (n >= size) return `${Number((n / size).toPrecision(3))} ${unit}`;
  return `${n} bytes`;
}

export function duration(s) {
  if (s == null) return "";
  if (s < 90) return `${Math.round(s)} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

export const ENDED = ["succeeded", "failed", "cancelled"];
const SHARES = ["top1", "f1", "agreement"];
const NAMES = { top1: "Top-1", f1: "Micro F1", mse: "Mean squared error", agreement: "Agreement", r2: "R2" };
export const metricName = (metric) => NAMES[metric] || "Accuracy";
export const isShare = (metric) => SHARES.includes(metric);
export const score = (metric, value) => (value == null ? "" : isShare(metric) ? percent(value) : number(value));
export const smallest = (result) => Math.min(result.bytes_packed ?? Infinity, result.bytes_pruned);

/** What became of it: so much lost, or won; in points where the metric is a share. */
export const change = (metric, drop) => {
  if (drop == null) return "";
  const amount = Math.abs(drop);
  return `${isShare(metric) ? `${(100 * amount).toFixed(2)} pt` : number(amount)} ${drop < 0 ? "won" : "lost"}`;
};

/** A plan's goal in few words. */
export function goal(plan) {
  const [[kind, value]] = Object.entries(plan.budget);
  const words = {
    pruning_rate: () => `${value}x`, sparsity: () => `${percent(value, 1)} zeros`, multiply_adds_share: () => `${percent(value, 0)} of multiply-adds`,
    bytes: () => `at most ${bytes(value)}`, max_accuracy_drop: () => `lose at most ${Number((100 * value).toPrecision(3))} pt`,
  };
  const pattern = plan.pattern?.kind;
  return `${words[kind]()}${pattern && pattern !== "unstructured" ? `, ${pattern}` : ""}`;
}

/** A row of cells; labels: column heads, shown beside the cells where the table is narrow. */
export function row(cells, labels = [], numeric = []) {
  return el("tr", {}, cells.map((cell, i) => {
    const attributes = { "data-label": labels[i], class: numeric.includes(i) ? "n" : null };
    return el(i ? "td" : "th", i ? attributes : { scope: "row" }, ...[cell ?? ""].flat());
  }));
}

/** Replace children only where something changed: a row that is read or clicked stays. */
export function refresh(parent, nodes) {
  nodes.forEach((node, i) => {
    const old = parent.children[i];
    if (!old) parent.append(node);
    else if (!old.isEqualNode(node)) old.replaceWith(node);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

for (const a of document.querySelectorAll("header nav a")) {
  const here = location.pathname === "/" || location.pathname.startsWith("/jobs") ? "/" : `/${location.pathname.split("/")[1]}`;
  if (a.getAttribute("href") === here) a.setAttribute("aria-current", "page");
}
