"use strict";
// The status page: asks the API once a second and fills tables. Everything shown is set as text, never as HTML.

const byId = (id) => document.getElementById(id);

async function ask(path, options = {}) {
  const key = sessionStorage.getItem("secateur-key");
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    const given = prompt("API key (sct_...)");
    if (given) { sessionStorage.setItem("secateur-key", given); return ask(path, options); }
  }
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

function repeat(show) {
  const once = async () => {
    let again = true;
    try {
      again = (await show()) !== "done";
      byId("problem").hidden = true;
    } catch (error) {
      byId("problem").textContent = error instanceof TypeError ? "The service does not answer." : error.message;
      byId("problem").hidden = false;
    }
    if (again) setTimeout(once, 1000);
  };
  once();
}

function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const td = document.createElement("td");
    if (cell instanceof Node) td.append(cell); else td.textContent = cell ?? "";
    line.append(td);
  }
  return line;
}

function link(href, text) {
  const a = document.createElement("a");
  a.href = href;
  a.textContent = text;
  return a;
}

const percent = (share) => (share == null ? "" : `${(100 * share).toFixed(2)} %`);
const SHARES = ["top1", "f1", "agreement"];
const number = (value) => (value == null ? "" : Number(value.toPrecision(3)).toString());
const seconds = (s) => (s == null ? "" : s < 90 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`);
const budget = (plan) => Object.entries(plan.budget).map(([k, v]) => `${k.replaceAll("_", " ")} ${v}`).join("");

async function showJobs() {
  const { items } = await ask("/v1/jobs?limit=50");
  byId("empty").hidden = items.length > 0;
  byId("jobs").replaceChildren(...items.map((job) => row([
    link(`/jobs/${job.id}`, job.name || job.id), job.status, job.phase,
    `${Math.round(100 * job.progress)} %`, seconds(job.eta_seconds), budget(job.plan),
  ])));
}

async function showJob(id) {
  const job = await ask(`/v1/jobs/${id}`);
  const left = job.eta_seconds ? `, about ${seconds(job.eta_seconds)} left` : "";
  const ended = ["succeeded", "failed", "cancelled"].includes(job.status);
  byId("name").textContent = job.name || job.id;
  byId("state").textContent = job.error ? `${job.status}: ${job.error}` : ended ? job.status : `${job.status}: ${job.phase || "waiting"}${left}`;
  byId("progress").value = job.progress;
  byId("cancel").hidden = !["queued", "running"].includes(job.status);
  byId("cancel").onclick = () => ask(`/v1/jobs/${id}/cancel`, { method: "POST" }).catch(() => undefined);
  await showRounds(id);
  await showWarnings(id);
  if (job.status === "succeeded") await showResult(id);
  return ended ? "done" : "again";
}

async function showRounds(id) {
  const m = await ask(`/v1/jobs/${id}/metrics`);
  const metric = m.metric[0] || "accuracy";
  const score = SHARES.includes(metric) ? percent : number;
  byId("metric").textContent = metric;
  byId("of").textContent = metric;
  byId("rounds").replaceChildren(...m.step.map((_, i) => row([
    m.phase[i], m.round[i], number(m.loss[i]), score(m.accuracy[i]), score(m.accuracy_pruned[i]),
    number(m.primal[i]), number(m.dual[i]), number(m.rho[i]), number(m.pruning_rate[i]),
  ])));
}

async function showWarnings(id) {
  const { items } = await ask(`/v1/jobs/${id}/events?limit=200`);
  const texts = items.filter((event) => event.kind === "warning").map((event) => event.data.text);
  byId("warnings").textContent = texts.map((text) => `Warning: ${text}.`).join(" ");
}

async function showResult(id) {
  const report = await ask(`/v1/jobs/${id}/report`);
  const { items } = await ask(`/v1/jobs/${id}/artifacts`);
  byId("headline").textContent = `${report.headline}.`;
  const lines = items.map((file) => [file.url, `${file.name} (${file.bytes.toLocaleString("en")} bytes)`]);
  byId("files").replaceChildren(...[[`/v1/jobs/${id}/report`, "report"], ...lines].map(([href, text]) => {
    const item = document.createElement("li");
    item.append(link(href, text));
    return item;
  }));
}
