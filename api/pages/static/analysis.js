// What was understood of a model or a data set.
import { el, row, count, percent, shape } from "./elements.js";

/** Inputs, outputs, layers and warnings of an analysis. */
export function analysisOf(a) {
  const ports = (list) => list.map((p) => `${p.name} (${shape(p.shape)}, ${p.dtype})`).join(", ");
  const operators = Object.entries(a.operators).map(([name, n]) => `${n} ${name}`).join(", ");
  return el("div", {},
    el("dl", { class: "facts" }, ...[["Inputs", ports(a.inputs)], ["Outputs", ports(a.outputs)], ["Weights", count(a.weights)], ["Multiply-adds", count(a.multiply_adds)], ["Operators", `${operators} (opset ${a.opset})`]].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    ...a.warnings.map((text) => el("p", { class: "note" }, text)),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Layers of the model" }, el("table", { class: "tight" },
      el("thead", {}, el("tr", {}, ...["Layer", "Kind", "Shape", "Weights", "Zero", "Multiply-adds", "Patterns"].map((head, i) => el("th", { scope: "col", class: i > 2 && i < 6 ? "n" : null }, head)))),
      el("tbody", {}, a.layers.map((x) => row([x.name, x.kind, shape(x.shape), count(x.weights), percent(x.zeros_share, 1), count(x.multiply_adds), x.patterns.join(", ")], [], [3, 4, 5]))))));
}

/** Splits, shapes and classes of a data set. */
export function summaryOf(summary) {
  const splits = Object.entries(summary.splits).map(([name, s]) => [name, `${count(s.examples)} examples of ${shape(s.shape)}, ${s.dtype}`]);
  const classes = summary.class_names.slice(0, 12).join(", ") + (summary.class_names.length > 12 ? ", ..." : "");
  const targets = summary.targets === "none" ? "none: the dense model teaches" : summary.targets;
  const facts = [...splits, ["targets", targets], ...(summary.classes ? [["classes", `${summary.classes}${classes ? `: ${classes}` : ""}`]] : [])];
  return el("dl", { class: "facts" }, ...facts.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
}
