// A list of models or of data sets: what is there, what uses it, delete.
import { ask, attempt, fileLink } from "./service.js";
import { byId, el, link, badge, row, bytes, day } from "./elements.js";

/** noun: models or datasets; about(row): what stands under the name; parameter: of the list of jobs. */
export function list(noun, about, parameter) {
  let cursor = null;
  const labels = ["", "Status", "Size", "Uploaded", "Used by", ""];

  function shown(item) {
    const remove = el("button", { type: "button", class: "danger", disabled: item.jobs > 0, title: item.jobs > 0 ? "Delete its jobs first" : null, "aria-label": `Delete ${item.name}`, onclick: () => confirm(`Delete ${item.name}?`) && attempt(async () => { await ask(`/v1/${noun}/${item.id}`, { method: "DELETE" }); line.remove(); }) }, item.jobs > 0 ? "In use" : "Delete");
    const users = item.jobs ? link(`/?${parameter}=${item.id}`, `${item.jobs} job${item.jobs === 1 ? "" : "s"}`) : "nothing";
    const name = noun === "models" ? link(`/models/${item.id}`, item.name) : el("span", {}, item.name);
    const line = row([[name, el("small", {}, item.id), ...about(item)], badge(item.status), bytes(item.bytes), day(item.created_at), users, el("span", { class: "actions" }, fileLink(`/v1/${noun}/${item.id}/content`, "Download"), remove)], labels, [2]);
    return line;
  }

  async function more() {
    const page = await ask(`/v1/${noun}?limit=50${cursor ? `&cursor=${cursor}` : ""}`);
    byId("rows").append(...page.items.map(shown));
    cursor = page.next_cursor;
    byId("more").hidden = !cursor;
    byId("empty").hidden = byId("rows").children.length > 0;
  }

  byId("more").onclick = () => attempt(more);
  attempt(more);
}

export const problems = (item) => item.problems.map((text) => el("small", { class: "wrong" }, text));
