/** One photo after the other through the workers, or through the server; each can be stopped. */

import { wrap, transfer, type Remote } from "comlink";
import { signal } from "@preact/signals";
import * as entriesOf from "./entries";
import { fileOf, find, update, type Entry, type Result } from "./entries";
import { modelInfo } from "./models";
import type { Field } from "./restore/field";
import * as server from "./server";
import * as session from "./session";
import { config, place } from "./settings";
import type { NetworkWorker } from "./workers/network.worker";
import type { PictureWorker } from "./workers/picture.worker";

const KEPT_FIELDS = 4; // in memory; the others are in IndexedDB

export const busy = signal<string | null>(null);
const fields = new Map<string, Field>();
let network: { remote: Remote<NetworkWorker>; worker: Worker } | null = null;
let picture: Remote<PictureWorker> | null = null;
let stop: AbortController | null = null;

/** The worker that decodes and encodes. */
export function pictures(): Remote<PictureWorker> {
  if (!picture) {
    picture = wrap<PictureWorker>(
      new Worker(new URL("./workers/picture.worker.ts", import.meta.url), { type: "module", name: "picture" }),
    );
    void picture.begin(new URL("./", document.baseURI).href, config.value.codecs);
  }
  return picture;
}

/** The worker that runs networks; another one after `cancel` has ended it. */
function networks(): Remote<NetworkWorker> {
  if (!network) {
    const worker = new Worker(new URL("./workers/network.worker.ts", import.meta.url), { type: "module", name: "network" });
    network = { worker, remote: wrap<NetworkWorker>(worker) };
  }
  return network.remote;
}

/** Works on whatever waits, until nothing does. */
export async function work(): Promise<void> {
  if (busy.value) return;
  for (let next; (next = entriesOf.entries.value.find((each) => each.state === "waiting")); ) {
    busy.value = next.id;
    const control = (stop = new AbortController());
    update(next.id, { state: "working", step: "queued", progress: null, error: "" });
    try {
      await process(next.id, control.signal);
      if (find(next.id)) update(next.id, { state: "done", step: null, progress: null });
    } catch (error) {
      if (!control.signal.aborted) {
        update(next.id, { state: "failed", step: null, progress: null, error: reasonOf(error) });
      }
    }
  }
  busy.value = null;
}

/** Stops what is being done for an entry; it counts as failed and can be tried again. */
export function cancel(id: string): void {
  if (busy.value === id && stop) {
    stop.abort();
    network?.worker.terminate(); // nothing else stops a network that runs
    network = null;
  }
  const entry = find(id);
  if (!entry) return;
  for (const result of Object.values(entry.results)) if (result.place === "server" && entry.state !== "done") server.remove(entry, result);
  update(id, { state: "failed", step: null, progress: null, error: "cancelled" });
}

export function retry(id: string): void {
  update(id, { state: "waiting", step: null, progress: null, error: "" });
  void work();
}

/** A video of another strength is made anew. */
export function reclear(id: string): void {
  const entry = find(id);
  if (!entry || entry.state !== "done") return;
  for (const result of Object.values(entry.results)) server.remove(entry, result);
  update(id, { results: {} });
  retry(id);
}

export function discard(id: string): void {
  const entry = find(id);
  if (!entry) return;
  if (entry.state === "working") cancel(id);
  for (const result of Object.values(entry.results)) if (result.place === "server") server.remove(entry, result);
  for (const key of [...fields.keys()]) if (key.startsWith(`${id}/`)) fields.delete(key);
  entriesOf.remove(id);
}

/** Shows an entry by these models; what is missing of them is computed. */
export function choose(id: string, models: string[]): void {
  const entry = find(id);
  if (!entry) return;
  const missing = models.some((each) => !entry.results[each]);
  update(id, { models, ...(missing && entry.state !== "working" ? { state: "waiting" } : {}) });
  if (missing) void work();
}

export async function fieldOf(id: string, model: string): Promise<Field | null> {
  const key = `${id}/${model}`;
  const field = fields.get(key) ?? (await session.keptField(id, model).catch(() => undefined));
  if (field) hold(key, field);
  return field ?? null;
}

/** Computes a field anew that neither memory nor the browser has kept. */
export async function fieldAgain(id: string, model: string): Promise<Field> {
  const found = await fieldOf(id, model);
  if (found) return found;
  await inBrowser(find(id)!, model, new AbortController().signal);
  return fields.get(`${id}/${model}`)!;
}

async function process(id: string, signal: AbortSignal): Promise<void> {
  for (let entry; (entry = find(id)); ) {
    const model = entry.models.find((name) => !entry!.results[name]);
    if (!model) return;
    if (place.value === "browser" && (entry.video || !modelInfo(model))) throw new Error(needed(entry));
    const there = place.value === "server";
    const result = await until(signal, there ? server.restore(entry, model, signal) : inBrowser(entry, model, signal));
    const now = find(id);
    if (!now) return;
    update(id, { results: { ...now.results, [model]: result } });
  }
}

async function inBrowser(entry: Entry, model: string, signal: AbortSignal): Promise<Result> {
  const info = modelInfo(model)!;
  const file = fileOf(entry.id);
  const picture = pictures();
  update(entry.id, { step: "reading" });
  const { analysis, traits } = await until(signal, picture.look(file, info.analysis));
  const across = traits.orientation > 4;
  const [width, height] = across ? [traits.height, traits.width] : [traits.width, traits.height];
  update(entry.id, { width, height, format: traits.format, lost: traits.lost });
  update(entry.id, { step: "clearing" });
  const started = performance.now();
  const hazy = transfer(analysis, [analysis.data.buffer]);
  const base = new URL("./", document.baseURI).href;
  const restored = await until(signal, networks().run(model, hazy, base, config.value.webgpu));
  update(entry.id, { step: "fitting" });
  const clear = transfer(restored.picture, [restored.picture.data.buffer]);
  const { field, preview } = await until(signal, picture.fit(file, info.analysis, clear));
  hold(`${entry.id}/${model}`, field);
  void session.keepField(entry.id, model, field).catch(() => undefined);
  update(entry.id, { preview });
  return { place: "browser", seconds: (performance.now() - started) / 1000, device: restored.device };
}

function hold(key: string, field: Field): void {
  fields.delete(key);
  fields.set(key, field);
  while (fields.size > KEPT_FIELDS) fields.delete(fields.keys().next().value!);
}

/** The promise, or a rejection as soon as it is stopped: a worker that was ended never answers. */
function until<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new DOMException("cancelled", "AbortError"));
    if (signal.aborted) return aborted();
    signal.addEventListener("abort", aborted, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", aborted));
  });
}

/** The key of the message that says what is missing here. */
function needed(entry: Entry): string {
  if (config.value.server) return "needsServer";
  return entry.video ? "videoNeedsServer" : "unreadable";
}

function reasonOf(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  // What gives the page its threads, where it is there, gives them when the page is loaded again.
  if (name === "NeedsReload" && navigator.serviceWorker?.controller) return "needsReload";
  if (name === "NeedsReload" || name === "NeedsServer") return config.value.server ? "needsServer" : "needsCommand";
  if (error instanceof Error && error.name === "Unreadable") return config.value.server ? "needsServer" : "unreadable";
  if (error instanceof RangeError) return "tooLarge";
  return error instanceof Error ? error.message : String(error);
}
