// Choosing what a job works on: a file that is dropped and uploaded, or one that is there.
import { ask, all } from "./service.js";
import { upload } from "./transfer.js";
import { el, badge, bytes, percent } from "./elements.js";
import { analysisOf, summaryOf } from "./analysis.js";
import { fields } from "./form.js";

const wait = (seconds) => new Promise((go) => setTimeout(go, 1000 * seconds));
const SUFFIXES = { ".npz": "npz" };

/** noun: models or datasets; onReady(row or null) is called when one is ready, or is no more. */
export class Source {
  constructor(host, noun, methods, onReady) {
    Object.assign(this, { host, noun, methods, onReady, reading: {}, file: null, row: null, turn: 0 });
    this.what = noun === "models" ? "model" : "data set";
    this.help = noun === "models" ? "One ONNX file (.onnx)." : "One file: .npz, or a zip or tar of images, Parquet or IDX files.";
  }

  async show(id) {
    const rows = (await all(`/v1/${this.noun}`)).filter((r) => r.status === "ready" || r.id === id);
    this.input = el("input", { type: "file", id: `${this.noun}-file`, accept: this.noun === "models" ? ".onnx" : null, onchange: () => this.input.files[0] && this.take(this.input.files[0]) });
    this.select = el("select", { id: `${this.noun}-there`, onchange: () => this.use(this.select.value) }, el("option", { value: "" }, rows.length ? "choose ..." : "nothing uploaded yet"), ...rows.map((r) => el("option", { value: r.id, selected: r.id === id }, `${r.name} (${bytes(r.bytes)})`)));
    this.progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": `Upload of the ${this.what}` });
    this.said = el("div", { role: "status" });
    const drop = el("div", { class: "drop" }, el("p", {}, el("label", { for: this.input.id }, `Drop the ${this.what} here, or choose a file: `), this.input), el("p", {}, el("small", {}, this.help)), el("p", {}, el("label", { for: this.select.id }, "Or one that is there: "), this.select), this.progress, this.said);
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); const [file] = event.dataTransfer.files; if (file) this.take(file); });
    this.host.replaceChildren(drop, ...(this.noun === "datasets" ? [this.howToRead()] : []));
    if (id) await this.use(id);
  }

  /** Format and preprocessing, from the schema; a file that was taken before is read again with them. */
  howToRead() {
    const schema = { ...this.methods.preprocess, properties: { format: { enum: Object.keys(this.methods.formats), default: "npz", description: Object.entries(this.methods.formats).map(([name, text]) => `${name}: ${text}`).join(" ") }, ...this.methods.preprocess.properties } };
    this.again = el("button", { type: "button", hidden: true, onclick: () => this.take(this.file) }, "Read the file again with these settings");
    this.readingBox = el("div");
    this.refill = () => this.readingBox.replaceChildren(...fields(schema, this.reading, () => { this.again.hidden = !this.file; }));
    this.refill();
    return el("details", {}, el("summary", {}, "How to read it"), el("p", { class: "soft" }, "Give what the model was trained with: examples become (x * scale - mean) / std; images also have a size."), el("div", { class: "fields" }, this.readingBox), this.again);
  }

  async take(file) {
    const turn = ++this.turn, suffix = file.name.slice(file.name.lastIndexOf("."));
    this.file = file;
    this.onReady(null);
    if (this.noun === "datasets") {
      this.again.hidden = true;
      if (SUFFIXES[suffix] && this.guessed) { delete this.reading.format; this.refill(); }
      this.guessed = !this.reading.format && !SUFFIXES[suffix]; // one that was chosen stays
      if (this.guessed) { this.reading.format = "imagefolder"; this.refill(); }
    }
    const query = new URLSearchParams({ name: file.name, ...Object.fromEntries(Object.entries(this.reading).map(([k, v]) => [k, Array.isArray(v) ? v.join(",") : v])) });
    this.progress.hidden = false;
    this.progress.value = 0;
    this.said.replaceChildren(`Uploading ${file.name}, ${bytes(file.size)} ...`);
    try {
      const said = (share, isWaiting) => { if (turn !== this.turn) return; this.progress.value = share; this.said.replaceChildren(isWaiting ? `Waiting for the service; the upload goes on at ${percent(share, 0)} by itself.` : `Uploading ${file.name}, ${bytes(file.size)}: ${percent(share, 0)}`); };
      const row = await upload(this.noun, query, file, said, () => turn === this.turn);
      if (turn === this.turn) await this.follow(row, turn);
    } catch (error) {
      if (turn === this.turn) this.refuse([error.message]);
    } finally {
      if (turn === this.turn) this.progress.hidden = true;
    }
  }

  async use(id) {
    const turn = ++this.turn;
    this.file = null;
    this.onReady(null);
    this.said.replaceChildren();
    if (!id) return;
    try { await this.follow(await ask(`/v1/${this.noun}/${id}`), turn); } catch (error) { this.refuse([error.message]); }
  }

  async follow(row, turn) {
    this.progress.hidden = true;
    while (row.status === "validating") {
      this.said.replaceChildren(`${row.name} is being examined ...`);
      await wait(0.4);
      if (turn !== this.turn) return;
      row = await ask(`/v1/${this.noun}/${row.id}`);
    }
    if (turn !== this.turn) return;
    if (row.status === "rejected") { this.refuse(row.problems); return; }
    const found = this.noun === "models" ? analysisOf(await ask(`/v1/models/${row.id}/analysis`)) : summaryOf(row.summary);
    const details = el("details", { open: this.noun === "datasets" }, el("summary", {}, this.noun === "models" ? "What was found in it" : "What it holds"), found);
    this.said.replaceChildren(el("p", {}, badge("ready"), ` ${row.name}, ${bytes(row.bytes)}`), details);
    if (![...this.select.options].some((o) => o.value === row.id)) this.select.append(el("option", { value: row.id }, `${row.name} (${bytes(row.bytes)})`));
    this.select.value = row.id;
    this.onReady(row);
  }

  refuse(problems) {
    this.said.replaceChildren(...problems.map((text) => el("p", { class: "note bad", role: "alert" }, text)));
  }
}
