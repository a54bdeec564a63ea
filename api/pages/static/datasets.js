import { list, problems } from "./uploads.js";
import { el, count } from "./elements.js";

const held = ({ summary }) => Object.entries(summary?.splits || {}).map(([name, split]) => `${count(split.examples)} ${name}`).join(", ");

list("datasets", (item) => [el("small", {}, [item.format, held(item)].filter(Boolean).join(" · ")), ...problems(item)], "dataset_id");
