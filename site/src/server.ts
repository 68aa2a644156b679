/** unhaze serve behind the page: photos and videos go there and come back restored. */

import { signal } from "@preact/signals";
import { controlsOf, fileOf, find, update, type Entry, type Result } from "./entries";
import type { Places } from "./restore/controlling";
import { pictures } from "./workers";

export interface ServerModel {
  name: string;
  purpose: string;
}

interface PhotoResponse {
  id: string;
  width: number;
  height: number;
  seconds: number;
  model: string;
  white_balance: number;
  result_name: string;
}

interface VideoAnswer {
  id: string;
  state: "waiting" | "running" | "done" | "failed";
  done: number;
  frames: number | null;
  seconds: number;
  result_name: string;
  error: string;
  notes: string[];
}

const ANALYSIS = 1024; // pixels, the long side of what controls go by

class Refused extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** The models that clients of this server may name; none without a server. */
export const offered = signal<readonly ServerModel[]>([]);

export async function askModels(): Promise<void> {
  const response = await ask("v1/models");
  offered.value = ((await response.json()) as { models: ServerModel[] }).models;
}

/** Sends the file and waits until it is restored. */
export async function restore(entry: Entry, model: string, signal: AbortSignal): Promise<Result> {
  return entry.video ? restoreVideo(entry, model, signal) : restorePhoto(entry, model, signal);
}

async function restorePhoto(entry: Entry, model: string, signal: AbortSignal): Promise<Result> {
  const query = new URLSearchParams({ name: entry.name, model });
  const response = (await send(entry, `v1/photos?${query}`, signal)) as PhotoResponse;
  const preview = await (await ask(`v1/photos/${response.id}/preview?side=restored&size=256`, signal)).blob();
  update(entry.id, { width: response.width, height: response.height, preview });
  return {
    place: "server", seconds: response.seconds, device: response.model, balance: response.white_balance,
    remote: response.id, resultName: response.result_name,
  };
}

async function restoreVideo(entry: Entry, model: string, signal: AbortSignal): Promise<Result> {
  const query = new URLSearchParams({ name: entry.name, model, ...wishesOf(entry) });
  const { id } = (await send(entry, `v1/videos?${query}`, signal)) as VideoAnswer;
  signal.addEventListener("abort", () => void ask(`v1/videos/${id}`, undefined, "DELETE").catch(() => undefined));
  for (;;) {
    const state = (await (await ask(`v1/videos/${id}`, signal)).json()) as VideoAnswer;
    if (state.state === "failed") throw new Error(state.error);
    if (state.state === "done") {
      const { seconds, result_name: resultName, done: frames, notes } = state;
      update(entry.id, { notes });
      return { place: "server", seconds, device: model, remote: id, resultName, frames };
    }
    const step = state.state === "waiting" ? "queued" : "clearing";
    update(entry.id, { step, progress: state.frames ? state.done / state.frames : null });
    await pause(0.5, signal);
  }
}

/** A picture to look at: the whole photo, as it came or as it is restored. */
export async function preview(entry: Entry, model: string, side: "hazy" | "restored", most = Infinity): Promise<Blob> {
  const size = Math.min(most, Math.max(16, entry.width, entry.height));
  return (await askOf(entry, model, `/preview?side=${side}&size=${size}`)).blob();
}

/** What controls go by in a photo that the server restored. */
export async function placesOf(entry: Entry, model: string): Promise<Places> {
  const sides = (["hazy", "restored"] as const).map((side) => preview(entry, model, side, ANALYSIS));
  return pictures().placesOfFiles(...((await Promise.all(sides)) as [Blob, Blob]));
}

/** The restored file at full size. */
export async function result(entry: Entry, model: string): Promise<Blob> {
  const rest = entry.video ? "/result" : `/result?${new URLSearchParams(wishesOf(entry))}`;
  const response = await askOf(entry, model, rest);
  const notes = ["Unhaze-Lost", "Unhaze-Notes"].map((name) => response.headers.get(name)).filter((note) => note !== null);
  if (!entry.video) update(entry.id, { notes });
  return response.blob();
}

function wishesOf(entry: Entry): Record<string, string> {
  const wishes = Object.entries({ strength: entry.strength, ...controlsOf(entry) });
  return Object.fromEntries(wishes.map(([name, value]) => [name, String(value)]));
}

/** Deletes what the server keeps of it; that it has gone already is fine. */
export function remove(entry: Entry, given: Result): void {
  if (given.remote) void ask(`${pathOf(entry)}/${given.remote}`, undefined, "DELETE").catch(() => undefined);
}

/** What the server has of an entry. It keeps files for a while only; what is gone is sent again. */
async function askOf(entry: Entry, model: string, rest: string): Promise<Response> {
  for (let tries = 0; ; tries++) {
    const given = find(entry.id)?.results[model];
    if (!given?.remote) throw new Error("removed");
    try {
      return await ask(`${pathOf(entry)}/${given.remote}${rest}`);
    } catch (error) {
      const isGone = error instanceof Refused && error.status === 404;
      if (!isGone || tries === 2) throw error;
      const again = await restore(entry, model, new AbortController().signal);
      update(entry.id, { results: { ...find(entry.id)!.results, [model]: again }, step: null, progress: null });
    }
  }
}

function pathOf(entry: Entry): string {
  return entry.video ? "v1/videos" : "v1/photos";
}

/** XMLHttpRequest, because only it tells how much has been sent. A busy server is asked again. */
function send(entry: Entry, address: string, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    update(entry.id, { step: "sending", progress: 0 });
    request.upload.onprogress = (event) => update(entry.id, { progress: event.loaded / event.total });
    request.upload.onload = () => update(entry.id, { step: "clearing", progress: null });
    request.onerror = () => reject(new Error("the server cannot be reached, or refused the file"));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      if (request.status === 429) {
        update(entry.id, { step: "queued", progress: null });
        const seconds = Number(request.getResponseHeader("Retry-After")) || 2;
        pause(seconds, signal).then(() => send(entry, address, signal)).then(resolve, reject);
      } else if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(new Refused(reasonOf(request.responseText, request.status), request.status));
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(fileOf(entry.id));
  });
}

async function ask(address: string, signal?: AbortSignal, method = "GET"): Promise<Response> {
  for (;;) {
    const response = await fetch(address, { method, ...(signal ? { signal } : {}) });
    if (response.ok) return response;
    if (response.status !== 429) throw new Refused(reasonOf(await response.text(), response.status), response.status);
    await pause(Number(response.headers.get("Retry-After")) || 2, signal);
  }
}

function reasonOf(text: string, status: number): string {
  try {
    const { detail } = JSON.parse(text) as { detail: string | { msg: string }[] };
    return typeof detail === "string" ? detail : (detail[0]?.msg ?? String(status));
  } catch {
    return `the server answered ${status}`;
  }
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((wake, reject) => {
    const timer = setTimeout(wake, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}
