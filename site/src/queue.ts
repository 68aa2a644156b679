/** One photo after the other through the workers, or through the server; each can be stopped. */

import { signal } from "@preact/signals";
import * as entriesOf from "./entries";
import { find, update, type Entry } from "./entries";
import { clear, release, until } from "./fields";
import { modelInfo } from "./models";
import * as server from "./server";
import { config, place } from "./settings";
import { endNetworks } from "./workers";

export const busy = signal<string | null>(null);
let stop: AbortController | null = null;

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
    endNetworks();
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

/** A video of another strength or other controls is made anew. */
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
  release(id);
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

async function process(id: string, signal: AbortSignal): Promise<void> {
  for (let entry; (entry = find(id)); ) {
    const model = entry.models.find((name) => !entry!.results[name]);
    if (!model) return;
    if (place.value === "browser" && (entry.video || !modelInfo(model))) throw new Error(needed(entry));
    const there = place.value === "server";
    const result = await until(signal, there ? server.restore(entry, model, signal) : clear(entry, model, signal));
    const now = find(id);
    if (!now) return;
    update(id, { results: { ...now.results, [model]: result } });
  }
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
