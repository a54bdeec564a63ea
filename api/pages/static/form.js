// A form made from a JSON Schema. It edits one plain object in place, and leaves out what is at its default.
import { el } from "./elements.js";

const words = (name) => { const text = name.replaceAll("_", " "); return text[0].toUpperCase() + text.slice(1); };
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Fields of the object `value`; onChange is called after each edit. skip: names that are shown elsewhere. */
export function fields(schema, value, onChange, { root = schema, path = "", skip = [] } = {}) {
  return Object.entries(schema.properties || {}).filter(([name, part]) => !skip.includes(name) && !("const" in part)).map(([name, part]) => field(name, part, value, { root, path: `${path}/${name}`, onChange }));
}

function resolve(part, root) {
  let found = part;
  if (part.allOf?.length === 1) found = { ...part.allOf[0], ...part };
  if (found.$ref) { const { $ref, ...rest } = found; found = { ...root.$defs[$ref.split("/").pop()], ...rest }; }
  return found;
}

/** The schema without null, and whether null is allowed. */
function bare(part, root) {
  const found = resolve(part, root);
  const options = found.anyOf?.filter((option) => option.type !== "null");
  if (found.anyOf && options.length === 1) return [{ ...resolve(options[0], root), description: found.description || resolve(options[0], root).description, default: found.default }, options.length < found.anyOf.length];
  return [found, Boolean(found.anyOf)];
}

function field(name, part, value, context) {
  const [schema, nullable] = bare(part, context.root);
  const union = schema.oneOf || schema.anyOf?.find((option) => option.oneOf)?.oneOf;
  if (union) return choice(name, union, schema, value, context, nullable);
  if (schema.type === "object") return group(name, schema, value, context, nullable);
  if (schema.type === "array" && resolve(schema.items || {}, context.root).type === "object") return list(name, schema, value, context);
  return simple(name, schema, value, context, nullable);
}

const idOf = (path) => `f${path.replaceAll("/", "-")}`;
const set = (value, name, given, context) => { if (given === undefined) delete value[name]; else value[name] = given; context.onChange(); };
const box = (path, ...parts) => el("div", { class: "field", "data-pointer": path }, ...parts, el("span", { class: "wrong", id: `${idOf(path)}-wrong` }));

function simple(name, schema, value, context, nullable) {
  const id = idOf(context.path), now = value[name] !== undefined ? value[name] : schema.default;
  const attributes = { id, "aria-describedby": `${id}-help ${id}-wrong` };
  const change = (given) => set(value, name, same(given, schema.default) || (given === null && schema.default == null) ? undefined : given, context);
  let input;
  if (schema.enum) {
    input = el("select", { ...attributes, onchange: () => change(input.value === "" ? null : input.value) }, ...(nullable ? [el("option", { value: "" }, "as it is")] : []), ...schema.enum.map((option) => el("option", { value: option, selected: option === now }, option)));
  } else if (schema.type === "boolean" && !nullable) {
    input = el("input", { ...attributes, type: "checkbox", checked: now, onchange: () => change(input.checked) });
  } else if (schema.type === "boolean") {
    input = el("select", { ...attributes, onchange: () => change({ yes: true, no: false }[input.value] ?? null) }, ...[["", "decided by the service"], ["yes", "yes"], ["no", "no"]].map(([v, text]) => el("option", { value: v, selected: v === { true: "yes", false: "no" }[now] }, text)));
  } else if (schema.type === "number" || schema.type === "integer") {
    const none = nullable || schema.default === undefined ? "" : schema.default;
    input = el("input", { ...attributes, type: "number", step: schema.type === "integer" ? 1 : "any", min: schema.minimum ?? schema.exclusiveMinimum, max: schema.maximum ?? schema.exclusiveMaximum, value: now ?? none, placeholder: schema.default ?? "", oninput: () => change(input.value === "" ? (nullable ? null : schema.default) : Number(input.value)) });
  } else if (schema.type === "array") {
    input = el("input", { ...attributes, type: "text", value: (now || []).join(", "), placeholder: "numbers, with commas between them", oninput: () => { const parts = input.value.split(",").map((t) => t.trim()).filter(Boolean); change(parts.length ? parts.map((t) => (Number.isNaN(Number(t)) ? t : Number(t))) : schema.default ?? null); } });
  } else {
    input = el("input", { ...attributes, type: "text", value: now ?? "", oninput: () => change(input.value || null) });
  }
  return box(context.path, el("label", { for: id }, words(name)), input, el("small", { id: `${id}-help` }, schema.description || ""));
}

/** An object: a group of its own; one that may be null is switched on first. */
function group(name, schema, value, context, nullable) {
  const inner = el("div");
  const fill = () => {
    const held = value[name] ?? {};
    const changed = () => { if (nullable || Object.keys(held).length) value[name] = held; else delete value[name]; context.onChange(); };
    inner.replaceChildren(...(nullable && value[name] == null ? [] : fields(schema, held, changed, { root: context.root, path: context.path })));
  };
  fill();
  const id = idOf(context.path);
  const toggle = nullable && el("input", { type: "checkbox", id, checked: value[name] != null, onchange: (event) => { set(value, name, event.target.checked ? required(schema) : undefined, context); fill(); } });
  return el("fieldset", { "data-pointer": context.path }, el("legend", {}, words(name)), el("small", {}, schema.description || ""), toggle && el("div", {}, toggle, " ", el("label", { for: id }, "Use it")), inner, el("span", { class: "wrong", id: `${id}-wrong` }));
}

/** What an object needs at least: the smallest values of fields without a default. */
const required = (schema) => Object.fromEntries((schema.required || []).map((name) => [name, schema.properties[name].maximum ? Math.ceil(schema.properties[name].maximum / 2) : schema.properties[name].minimum ?? ""]));

/** One of several objects, told apart by `kind`. */
function choice(name, union, schema, value, context, nullable) {
  const kinds = Object.fromEntries(union.map((option) => resolve(option, context.root)).map((option) => [option.properties.kind.const, option]));
  const id = idOf(context.path), inner = el("div"), none = nullable ? "" : Object.keys(kinds)[0];
  const first = schema.default?.kind ?? none;
  const fill = () => {
    const kind = value[name]?.kind ?? first, held = value[name] ?? { kind };
    const changed = () => { if (kind === first && Object.keys(held).length === 1) delete value[name]; else value[name] = held; context.onChange(); };
    inner.replaceChildren(...(kinds[kind] ? [el("small", {}, (kinds[kind].description || "").split("\n\n")[0]), ...fields(kinds[kind], held, changed, { root: context.root, path: context.path })] : []));
  };
  const select = el("select", { id, onchange: () => { set(value, name, select.value === first ? undefined : { kind: select.value }, context); fill(); } }, ...(nullable ? [el("option", { value: "" }, "that of the plan")] : []), ...Object.keys(kinds).map((kind) => el("option", { selected: kind === (value[name]?.kind ?? first) }, kind)));
  fill();
  return box(context.path, el("label", { for: id }, words(name)), select, inner);
}

/** Objects in order, added and removed. */
function list(name, schema, value, context) {
  const item = resolve(schema.items, context.root), rows = el("div");
  const fill = () => {
    const held = value[name] ?? [];
    const changed = () => { if (held.length) value[name] = held; else delete value[name]; context.onChange(); };
    rows.replaceChildren(...held.map((one, i) => el("fieldset", {}, el("legend", {}, `${words(name)} ${i + 1}`), ...fields(item, one, changed, { root: context.root, path: `${context.path}/${i}` }), el("button", { type: "button", onclick: () => { held.splice(i, 1); changed(); fill(); } }, "Remove"))), el("button", { type: "button", onclick: () => { held.push(required(item)); value[name] = held; context.onChange(); fill(); } }, `Add to ${words(name).toLowerCase()}`));
  };
  fill();
  return el("fieldset", { "data-pointer": context.path }, el("legend", {}, words(name)), el("small", {}, schema.description || item.description || ""), rows);
}
