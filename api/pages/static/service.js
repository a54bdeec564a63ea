// The service: requests with the key that was given, looks that repeat.

const KEY = "secateur-key";

export class Refusal extends Error {
  constructor(status, body) {
    super(body.detail || `the service answered ${status}`);
    this.status = status;
    this.errors = body.errors || [];
  }
}

export const key = () => sessionStorage.getItem(KEY);
export const withKey = (headers = {}) => (key() ? { ...headers, Authorization: `Bearer ${key()}` } : headers);

/** One request; JSON in, JSON out. Throws Refusal with the service's sentence. */
export async function ask(path, { method = "GET", body, headers } = {}) {
  const sent = withKey({ ...headers, ...(body ? { "Content-Type": "application/json" } : {}) });
  const response = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body) });
  if (response.status === 401 && (await askForKey())) return ask(path, { method, body, headers });
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

let asking = null;

/** A dialog for the API key; true when one was given. Kept for this tab only. */
function askForKey() {
  asking ||= new Promise((given) => {
    const dialog = document.createElement("dialog");
    dialog.innerHTML = '<form method="dialog"><p><label>This service asks for an API key<br><input name="key" type="password" autocomplete="off" placeholder="sct_..." required></label></p><p><button class="main">Use it</button></p></form>';
    dialog.addEventListener("close", () => {
      const value = dialog.querySelector("input").value.trim();
      if (value) sessionStorage.setItem(KEY, value);
      dialog.remove();
      asking = null;
      given(Boolean(value));
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

/** Look again after `seconds` until show() says "done"; rests while the page is not seen. Never two looks at once. */
export function repeat(show, seconds = 1) {
  let timer = null; // null while a look is under way, and after the last
  const once = async () => {
    timer = null;
    const state = document.hidden ? "again" : await attempt(show);
    if (state !== "done") timer = setTimeout(once, 1000 * seconds);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || timer === null) return;
    clearTimeout(timer);
    once();
  });
  return once();
}

/** Run something, and say on the page what went wrong. */
export async function attempt(action) {
  try {
    const result = await action();
    complain("");
    return result;
  } catch (error) {
    complain(error instanceof TypeError && /fetch/i.test(error.message) ? "The service does not answer." : error.message);
    if (!(error instanceof Refusal || error instanceof TypeError)) console.error(error);
    return error.status === 404 ? "done" : "again";
  }
}

export function complain(text) {
  const line = document.getElementById("problem");
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
}

/** A link that works with a key too: a plain one cannot carry it. */
export function fileLink(href, text, { inTab = false } = {}) {
  const a = document.createElement("a");
  a.href = href;
  a.textContent = text;
  if (inTab) a.target = "_blank"; else a.download = "";
  a.addEventListener("click", async (event) => {
    if (!key()) return;
    event.preventDefault();
    const shown = inTab ? window.open("", "_blank") : null;
    const response = await fetch(inTab ? href : `${href}?redirect=false`, { headers: withKey(inTab ? { Accept: "text/html" } : {}) });
    const url = response.status === 204 ? response.headers.get("Location") : URL.createObjectURL(await response.blob());
    if (shown) { shown.location = url; return; }
    const saved = document.createElement("a");
    saved.href = url;
    saved.download = href.split("/").pop();
    saved.click();
  });
  return a;
}

/** The rows of a list, page by page, `most` at most. */
export async function all(path, most = 1000) {
  const rows = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: Math.min(most, 200), ...(cursor ? { cursor } : {}) });
    const page = await ask(`${path}${path.includes("?") ? "&" : "?"}${query}`);
    rows.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && rows.length < most);
  return rows;
}

export const idempotencyKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
