// Uploads in slices (tus 1.0): they go on after a lost connection, and after a reload when the same file is dropped again.
import { ask, withKey, Refusal } from "./service.js";

const SLICE = 8 << 20;
const SILENCE = 60_000; // ms without a byte: the connection is dead, whatever the browser thinks of it
const SPOKEN = { "Tus-Resumable": "1.0.0" };
const PASSING = [409, 423, 429, 460, 502, 503, 504];
const LONGEST_PAUSE = 8; // s

/** noun: models or datasets; onProgress(0 to 1, whether it waits for the service); isWanted(): false ends it. Resolves to the row. */
export async function upload(noun, query, file, onProgress, isWanted) {
  const memory = `secateur-transfer ${noun} ${query} ${file.size} ${file.lastModified}`;
  let safe = 0, pause = 0.25;
  while (isWanted()) {
    try {
      if (!localStorage.getItem(memory)) localStorage.setItem(memory, (await ask(`/v1/${noun}/transfers?${query}`, { method: "POST", headers: { ...SPOKEN, "Upload-Length": file.size } })).id);
      const address = `/v1/transfers/${localStorage.getItem(memory)}`, state = await ask(address);
      if (state.upload_id) { localStorage.removeItem(memory); return await ask(`/v1/${noun}/${state.upload_id}`); }
      if (state.offset > safe) pause = 0.25;
      for (safe = state.offset; safe < file.size && isWanted(); pause = 0.25) safe = await send(address, file, safe, onProgress);
    } catch (error) {
      if ([404, 410].includes(error.status)) localStorage.removeItem(memory); // it has expired: begin anew
      else if (error instanceof Refusal && !PASSING.includes(error.status)) throw error;
      await file.slice(0, 1).arrayBuffer().catch(() => { throw new Error(`${file.name} has changed on the disk; drop it again.`); });
      onProgress(safe / file.size, true);
      pause = Math.min(2 * pause, LONGEST_PAUSE);
      await wait(pause);
    }
  }
  return null;
}

/** One slice; resolves to the offset after it. */
function send(address, file, offset, onProgress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    let silence = null;
    const heard = () => { clearTimeout(silence); silence = setTimeout(() => request.abort(), SILENCE); };
    request.open("PATCH", address);
    const headers = withKey({ ...SPOKEN, "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset });
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => { heard(); onProgress((offset + event.loaded) / file.size, false); };
    request.onerror = request.onabort = () => failed(new Error("The service does not answer."));
    request.onloadend = () => clearTimeout(silence);
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { body = {}; }
      if (request.status < 300) done(Number(request.getResponseHeader("Upload-Offset"))); else failed(new Refusal(request.status, body));
    };
    heard();
    request.send(file.slice(offset, offset + SLICE));
  });
}

/** Some seconds, or until the network is back. */
const wait = (seconds) => new Promise((go) => { setTimeout(go, 1000 * seconds); window.addEventListener("online", go, { once: true }); });
