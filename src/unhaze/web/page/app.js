// The page: files go to the server one after the other; what comes back is shown over the original.
// Strength is a blend of two pictures, so the slider needs no server.

const at = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((wake) => setTimeout(wake, 1000 * seconds));
const entries = [];
let limits = null;
let count = 0;
let shown = null;
const view = { zoom: 1, left: 0, top: 0, fitted: true };

// ---- files in -------------------------------------------------------------------------------

at("files").addEventListener("change", () => { add(at("files").files); at("files").value = ""; });
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
  else say("That was no file. Drop photos or a short video, or choose them.");
});

function add(files) {
  for (const file of files) {
    const video = file.type.startsWith("video/") || /\.(mkv|mov|mp4|m4v|webm|avi)$/i.test(file.name);
    const entry = { number: count++, file, video, name: file.name, state: "waiting", strength: 100, chosen: at("model").value };
    entries.push(entry);
    at("list").append(itemOf(entry));
  }
  layOut();
  work();
}

let working = false;
async function work() {
  if (working) return;
  working = true;
  for (let entry; (entry = entries.find((each) => each.state === "waiting"));) {
    entry.state = "sending";
    refresh(entry);
    try {
      await (entry.video ? restoreVideo(entry) : restorePhoto(entry));
      if (entry.state === "removed") continue;
      entry.state = "done";
      say("");
    } catch (error) {
      if (entry.state === "removed") continue;
      entry.state = "failed";
      entry.error = error.message;
      say(`${entry.name}: ${error.message}`);
    }
    layOut();
    if (entry.state === "done" && (!shown || shown === entry)) show(entry);
    refresh(entry);
  }
  working = false;
}

async function restorePhoto(entry) {
  const query = new URLSearchParams({ name: entry.name, model: entry.chosen });
  const answer = await send(entry, `v1/photos?${query}`);
  Object.assign(entry, { id: answer.id, width: answer.width, height: answer.height, seconds: answer.seconds, model: answer.model, bytes: answer.bytes, result: answer.result_name });
}

async function restoreVideo(entry) {
  const query = new URLSearchParams({ name: entry.name, model: entry.chosen, strength: entry.strength / 100 });
  entry.id = (await send(entry, `v1/videos?${query}`)).id;
  while (entry.state !== "removed") {
    const state = await (await ask(`v1/videos/${entry.id}`)).json();
    if (state.state === "failed") throw new Error(state.error);
    if (state.state === "done") {
      Object.assign(entry, { seconds: state.seconds, result: state.result_name, frames: state.done });
      return;
    }
    entry.share = state.frames ? state.done / state.frames : null;
    entry.note = state.state === "waiting" ? "waiting" : `${state.done}${state.frames ? ` of ${state.frames}` : ""} frames`;
    refresh(entry);
    await pause(0.5);
  }
}

// XMLHttpRequest and not fetch, because only it tells how much has been sent. A busy server is
// asked again after the time that it names.
function send(entry, address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    entry.request = request;
    request.open("POST", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => { entry.share = event.loaded / event.total; refresh(entry); };
    request.upload.onload = () => { if (entry.state === "sending") entry.state = "working"; entry.share = null; refresh(entry); };
    request.onerror = () => reject(new Error("the server cannot be reached, or refused the file"));
    request.onabort = () => reject(new Error("removed"));
    request.onload = () => {
      if (request.status === 429) {
        entry.note = "the server is busy";
        refresh(entry);
        const again = () => (entry.state === "removed" ? reject(new Error("removed")) : send(entry, address).then(resolve, reject));
        pause(Number(request.getResponseHeader("Retry-After")) || 2).then(again);
        return;
      }
      entry.note = "";
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(new Error(reasonOf(request.responseText, request.status)));
    };
    request.send(entry.file);
  });
}

// fetch that waits for a busy server; anything but success is an Error with the server's words.
async function ask(address) {
  for (;;) {
    const answer = await fetch(address);
    if (answer.ok) return answer;
    if (answer.status !== 429) throw Object.assign(new Error(reasonOf(await answer.text(), answer.status)), { status: answer.status });
    await pause(Number(answer.headers.get("Retry-After")) || 2);
  }
}

// What the server has of an entry. It keeps files for a while only, and only so many; what it no
// longer has, it gets again, as the page has the file.
async function askOf(entry, rest = "") {
  for (let tries = 0; ; tries++) {
    try { return await ask(`v1/${entry.video ? "videos" : "photos"}/${entry.id}${rest}`); } catch (error) {
      if (error.status !== 404 || entry.state === "removed" || tries === 3) throw error;
      const sending = entry.video ? restoreVideo : restorePhoto;
      entry.again ??= sending(entry).finally(() => { entry.again = null; entry.share = null; refresh(entry); });
      await entry.again;
    }
  }
}

function reasonOf(text, status) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : detail[0].msg;
  } catch { return `the server answered ${status}`; }
}

// ---- the list -------------------------------------------------------------------------------

function itemOf(entry) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.title = entry.name;
  const parts = { blank: "span", name: "span", bar: "progress", state: "span" };
  for (const [name, tag] of Object.entries(parts)) {
    const part = document.createElement(tag);
    part.className = name;
    button.append(part);
  }
  button.querySelector(".name").textContent = entry.name;
  button.addEventListener("click", () => { say(entry.error ? `${entry.name}: ${entry.error}` : ""); show(entry); });
  item.append(button);
  entry.item = item;
  refresh(entry);
  return item;
}

function refresh(entry) {
  const words = { waiting: "waiting", sending: "sending …", working: "clearing …", done: entry.video ? "cleared video" : "cleared", failed: "failed" };
  const state = entry.item.querySelector(".state");
  state.textContent = entry.state === "working" && entry.note ? entry.note : words[entry.state] ?? "";
  state.classList.toggle("failed", entry.state === "failed");
  const bar = entry.item.querySelector("progress");
  bar.hidden = !["sending", "working"].includes(entry.state);
  bar.setAttribute("aria-label", entry.name);
  if (entry.share == null) bar.removeAttribute("value"); else bar.value = entry.share;
  const blank = entry.item.querySelector(".blank");
  if (entry.state === "done" && blank && !entry.video) {
    const picture = new Image();
    picture.alt = "";
    blank.replaceWith(picture);
    load(picture, entry, "/preview?side=restored&size=256");
  }
  entry.item.querySelector("button").setAttribute("aria-current", entry === shown);
}

function finished() { return entries.filter((entry) => entry.state === "done"); }

function layOut() {
  document.body.classList.toggle("with-files", entries.length > 0);
  at("list").hidden = entries.length === 0;
  at("all").hidden = finished().length < 2;
}

// ---- before and after -----------------------------------------------------------------------

function show(entry) {
  const last = shown;
  shown = entry;
  for (const each of [last, entry]) if (each?.item.isConnected) refresh(each);
  at("viewer").hidden = entry.state !== "done";
  if (entry.state !== "done") return;
  for (const id of ["pictures", "line", "tag-before", "tag-after", "split", "zoom"]) at(id).hidden = entry.video;
  at("clip").hidden = !entry.video;
  at("stage").style.maxHeight = "";
  at("strength").value = entry.strength;
  if (entry.video) askOf(entry).then(() => { if (shown === entry) at("clip").src = `v1/videos/${entry.id}/result`; }, (error) => say(error.message));
  else {
    at("clip").removeAttribute("src");
    // The original's size is set at once, so that nothing jumps while the previews arrive.
    at("pictures").style.width = `${entry.width}px`;
    at("pictures").style.height = `${entry.height}px`;
    for (const id of ["before", "after"]) at(id).removeAttribute("src");
    entry.size = 0;
    fit();
  }
  blend();
  const facts = entry.video ? `${entry.frames} frames, cleared` : `${entry.width} × ${entry.height} pixels, cleared by ${entry.model}`;
  at("facts").textContent = `${entry.name}: ${facts} in ${entry.seconds.toFixed(1)} s`;
}

// Asks for larger pictures where the screen could show more than it has: what the server has at
// hand, then twice that, then all.
function sharpen() {
  const longest = Math.max(shown.width, shown.height);
  const needed = view.zoom * devicePixelRatio * longest;
  const enough = [1024, 2048].find((each) => needed <= 1.1 * each && each < longest);
  const size = needed < longest && enough ? enough : longest;
  if (size <= shown.size) return;
  shown.size = size;
  load(at("after"), shown, `/preview?side=restored&size=${size}`);
  load(at("before"), shown, `/preview?side=hazy&size=${size}`);
}

// Shows the picture of an entry as soon as it is whole, unless another was wanted meanwhile.
async function load(picture, entry, rest) {
  const wanted = `${entry.number}${rest}`;
  picture.dataset.wanted = wanted;
  try {
    const place = URL.createObjectURL(await (await askOf(entry, rest)).blob());
    if (picture.dataset.wanted !== wanted) { URL.revokeObjectURL(place); return; }
    if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
    picture.src = place;
  } catch (error) { if (picture.dataset.wanted === wanted && picture.isConnected) say(error.message); }
}

function blend() {
  const strength = Number(at("strength").value);
  at("strength-shown").textContent = `${strength} %`;
  at("after").style.opacity = strength / 100;
  if (shown && !shown.video) shown.strength = strength;
}
at("strength").addEventListener("input", blend);
at("strength").addEventListener("change", () => {
  // A video has no picture that could be blended: it is restored again.
  if (shown?.video && Number(at("strength").value) !== shown.strength) again({ strength: Number(at("strength").value) });
});

// Sends what is shown once more, with another strength or model.
function again(changes) {
  if (shown.id) forget(shown);
  Object.assign(shown, changes, { state: "waiting", share: null, note: "", error: "", id: null });
  const picture = shown.item.querySelector("img");
  if (picture) { picture.replaceWith(document.createElement("span")); shown.item.querySelector("span").className = "blank"; }
  refresh(shown);
  at("viewer").hidden = true;
  work();
}

function divide() {
  const share = Number(at("split").value) / 100;
  const border = share * at("stage").clientWidth;
  at("line").style.left = `${border}px`;
  const inside = (border - view.left) / view.zoom;
  at("after").style.clipPath = `inset(0 0 0 ${Math.max(0, inside)}px)`;
  at("tag-before").style.opacity = share > 0.15 ? 1 : 0;
  at("tag-after").style.opacity = share < 0.85 ? 1 : 0;
}
at("split").addEventListener("input", divide);

function place() {
  at("pictures").style.transform = `translate(${view.left}px, ${view.top}px) scale(${view.zoom})`;
  at("stage").style.touchAction = view.fitted ? "pan-y" : "none";
  at("fit").setAttribute("aria-pressed", view.fitted);
  at("full").setAttribute("aria-pressed", !view.fitted && Math.abs(view.zoom * devicePixelRatio - 1) < 1e-6);
  sharpen();
  divide();
}

function fit() {
  // On a narrow screen the stage is as low as the picture, so that the sliders stay in sight.
  const stage = at("stage");
  stage.style.maxHeight = innerWidth > 640 ? "" : `${Math.max(220, (stage.clientWidth * shown.height) / shown.width)}px`;
  view.zoom = Math.min(stage.clientWidth / shown.width, stage.clientHeight / shown.height, 1);
  view.left = (stage.clientWidth - shown.width * view.zoom) / 2;
  view.top = (stage.clientHeight - shown.height * view.zoom) / 2;
  view.fitted = true;
  place();
}

function zoomTo(zoom, left, top) {
  zoom = Math.min(Math.max(zoom, 0.02), 8);
  view.left = left - (left - view.left) * (zoom / view.zoom);
  view.top = top - (top - view.top) * (zoom / view.zoom);
  view.zoom = zoom;
  view.fitted = false;
  place();
}

function pan(right, down) {
  view.left += right;
  view.top += down;
  view.fitted = false;
  place();
}

function middle() { return [at("stage").clientWidth / 2, at("stage").clientHeight / 2]; }
function fullSize() { zoomTo(1 / devicePixelRatio, ...middle()); }

at("fit").addEventListener("click", fit);
at("full").addEventListener("click", fullSize);
at("stage").addEventListener("wheel", (event) => {
  if (shown.video) return;
  event.preventDefault();
  const box = at("stage").getBoundingClientRect();
  zoomTo(view.zoom * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

const keys = {
  ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
  "+": () => zoomTo(view.zoom * 1.25, ...middle()), "=": () => zoomTo(view.zoom * 1.25, ...middle()),
  "-": () => zoomTo(view.zoom / 1.25, ...middle()), 0: fit, 1: fullSize,
};
at("stage").addEventListener("keydown", (event) => {
  if (event.target !== at("stage") || shown.video || !keys[event.key] || event.ctrlKey || event.metaKey) return;
  keys[event.key]();
  event.preventDefault();
});

// One finger or the mouse moves the line, or, where the picture is larger than its stage and the
// line is not near, the picture; two fingers zoom.
const fingers = new Map();
let grip = null;
at("stage").addEventListener("pointerdown", (event) => {
  if (shown.video) return;
  const box = at("stage").getBoundingClientRect();
  const border = (Number(at("split").value) / 100) * box.width;
  if (fingers.size === 0) grip = view.fitted || Math.abs(event.clientX - box.left - border) < 28 ? "line" : "picture";
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  at("stage").setPointerCapture(event.pointerId);
});
at("stage").addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const [left, top] = fingers.get(event.pointerId);
  const box = at("stage").getBoundingClientRect();
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, where]) => where);
    const before = Math.hypot(left - other[0], top - other[1]);
    const after = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
    zoomTo((view.zoom * after) / Math.max(before, 1), (event.clientX + other[0]) / 2 - box.left, (event.clientY + other[1]) / 2 - box.top);
  } else if (grip === "line") {
    at("split").value = (100 * (event.clientX - box.left)) / box.width;
    divide();
  } else pan(event.clientX - left, event.clientY - top);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
for (const kind of ["pointerup", "pointercancel"]) {
  at("stage").addEventListener(kind, (event) => fingers.delete(event.pointerId));
}
addEventListener("resize", () => { if (shown && !shown.video && !at("viewer").hidden) (view.fitted ? fit() : place()); });

// ---- out ------------------------------------------------------------------------------------

at("download").addEventListener("click", () => {
  const entry = shown;
  const rest = entry.video ? "/result" : `/result?strength=${entry.strength / 100}`;
  download(at("download"), async () => save(await askOf(entry, rest), entry.result));
});

at("all").addEventListener("click", () => {
  download(at("all"), async () => {
    const parts = inParts(finished());
    for (const [index, part] of parts.entries()) {
      if (parts.length > 1) say(`ZIP ${index + 1} of ${parts.length} …`);
      await save(await archiveOf(part), parts.length > 1 ? `unhaze-${index + 1}.zip` : "unhaze.zip");
    }
  });
});

// So many entries in one ZIP as the server can keep at a time.
function inParts(chosen) {
  const parts = [[]];
  let bytes = 0;
  for (const entry of chosen) {
    const more = entry.bytes ?? 2 * entry.file.size;
    if (parts.at(-1).length === 100 || (bytes + more > 0.8 * limits.bytes_kept && bytes)) { parts.push([]); bytes = 0; }
    parts.at(-1).push(entry);
    bytes += more;
  }
  return parts;
}

async function archiveOf(part) {
  for (let tries = 0; ; tries++) {
    for (const entry of part) await askOf(entry);
    const query = new URLSearchParams();
    for (const entry of part) query.append("item", `${entry.id}:${entry.strength / 100}`);
    try { return await ask(`v1/archive?${query}`); } catch (error) { if (error.status !== 404 || tries === 3) throw error; }
  }
}

async function save(answer, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function download(button, fetching) {
  button.disabled = true;
  try {
    await fetching();
    say("");
  } catch (error) { say(error.message); }
  button.disabled = false;
}

at("remove").addEventListener("click", () => {
  const index = entries.indexOf(shown);
  forget(shown);
  shown.state = "removed";
  shown.item.remove();
  entries.splice(index, 1);
  shown = null;
  at("viewer").hidden = true;
  layOut();
  const next = finished()[Math.min(index, finished().length - 1)];
  if (next) { show(next); next.item.querySelector("button").focus(); } else at("files").focus();
});

function forget(entry) { fetch(`v1/${entry.video ? "videos" : "photos"}/${entry.id}`, { method: "DELETE" }); }

function say(text) { at("message").textContent = text; }

// ---- start ----------------------------------------------------------------------------------

async function start() {
  const known = await (await ask("v1/models")).json();
  const { models } = known;
  limits = known.limits;
  const automatic = { name: "auto", purpose: "The model that suits the picture and this computer." };
  for (const model of [automatic, ...models]) at("model").append(new Option(model.name, model.name));
  const tell = () => { at("purpose").textContent = [automatic, ...models].find((each) => each.name === at("model").value).purpose; };
  at("model").addEventListener("change", () => {
    tell();
    if (shown && ["done", "failed"].includes(shown.state)) again({ chosen: at("model").value });
  });
  tell();
  at("limits").textContent = `Up to ${Math.round(limits.bytes / 1e6)} MB and ${Math.round(limits.pixels / 1e6)} megapixels a file. Files are deleted after ${Math.round(limits.seconds_kept / 60)} minutes.`;
}
start().catch(() => say("the server cannot be reached"));
