/** The photos and videos of this session: what the list shows and the queue works on. */

import { computed, signal } from "@preact/signals";
import { NO_WISHES, type Controls, type Wishes } from "./restore/controlling";
import * as session from "./session";

export type State = "waiting" | "working" | "done" | "failed";
export type Step = "reading" | "clearing" | "fitting" | "sending" | "queued";
export type Place = "browser" | "server";

/** What a model did to a photo. `remote`: the server's name for it. `balance`: the white balance that suits it; none is 0. */
export interface Result {
  place: Place;
  seconds: number;
  device: string;
  balance?: number;
  remote?: string;
  resultName?: string;
  frames?: number;
}

/** One file. `models`: shown side by side. `width`, `height`: upright; 0 while not known. */
export interface Entry {
  id: string;
  name: string;
  type: string;
  size: number;
  video: boolean;
  added: number;
  state: State;
  step: Step | null;
  progress: number | null;
  error: string;
  models: string[];
  strength: number;
  controls: Wishes;
  results: Record<string, Result>;
  width: number;
  height: number;
  format: string;
  /** What the result does not hold: keys of messages, and sentences of the server's. */
  lost: string[];
  notes: string[];
  preview: Blob | null;
}

export const entries = signal<readonly Entry[]>([]);
export const shownId = signal<string | null>(null);
export const shown = computed(() => entries.value.find((each) => each.id === shownId.value) ?? null);
const files = new Map<string, Blob>();

export function fileOf(id: string): Blob {
  const file = files.get(id);
  if (!file) throw new Error("the file is gone");
  return file;
}

export function find(id: string): Entry | undefined {
  return entries.value.find((each) => each.id === id);
}

/** The first of its models that is done: the one that is saved. */
export function firstDone(entry: Entry): string | undefined {
  return entry.models.find((model) => entry.results[model]);
}

/** What is in effect: white balance that nobody chose is what suits the result that is saved. */
export function controlsOf(entry: Entry): Controls {
  const balance = entry.results[firstDone(entry) ?? ""]?.balance ?? 0;
  return { ...entry.controls, white_balance: entry.controls.white_balance ?? balance };
}

const VIDEO = /\.(mkv|mov|mp4|m4v|webm|avi)$/i;

/** Takes files in; they wait. Where the browser keeps nothing (private windows), memory does. */
export function add(given: Iterable<File>, modelsFor: (video: boolean) => string[]): Entry[] {
  const added = [...given].map((file, i): Entry => {
    const id = crypto.randomUUID();
    files.set(id, file);
    const video = file.type.startsWith("video/") || VIDEO.test(file.name);
    void session.keepFile(id, file).catch(notKept);
    return {
      id, name: file.name || "photo.png", type: file.type, size: file.size,
      video,
      added: Date.now() + i / 1000, state: "waiting", step: null, progress: null, error: "",
      models: modelsFor(video), strength: 1, controls: NO_WISHES, results: {}, width: 0, height: 0, format: "", lost: [], notes: [], preview: null,
    };
  });
  entries.value = [...entries.value, ...added];
  for (const entry of added) keep(entry);
  shownId.value ??= added[0]?.id ?? null;
  return added;
}

/** Changes an entry, if it is still there. */
export function update(id: string, changes: Partial<Entry>): void {
  const kept = entries.value.map((each) => (each.id === id ? { ...each, ...changes } : each));
  entries.value = kept;
  const entry = find(id);
  const passing = !("state" in changes) && ("progress" in changes || "step" in changes);
  if (entry && !passing) keep(entry);
}

export function remove(id: string): void {
  const place = entries.value.findIndex((each) => each.id === id);
  entries.value = entries.value.filter((each) => each.id !== id);
  files.delete(id);
  if (shownId.value === id) shownId.value = entries.value[Math.min(place, entries.value.length - 1)]?.id ?? null;
  void session.forget(id).catch(notKept);
}

export async function removeAll(): Promise<void> {
  for (const entry of entries.value) files.delete(entry.id);
  entries.value = [];
  shownId.value = null;
  await session.forgetAll().catch(notKept);
}

/** Brings back what earlier visits left; what was being worked on waits again. */
export async function bringBack(): Promise<void> {
  const kept = await session.restored().catch((error: unknown) => (notKept(error), []));
  for (const { entry, file } of kept) files.set(entry.id, file);
  const back = kept.map(({ entry }): Entry => ({
    ...entry,
    controls: entry.controls ?? NO_WISHES, // earlier versions of the page had neither
    notes: entry.notes ?? [],
    ...(entry.state === "working" ? { state: "waiting", step: null, progress: null } : {}),
  }));
  entries.value = [...back, ...entries.value];
  shownId.value ??= back[0]?.id ?? null;
}

const writing = new Set<string>();
const changed = new Set<string>();

/** One write of an entry at a time: a slider that moves changes it sixty times a second. */
function keep(entry: Entry): void {
  if (writing.has(entry.id)) return void changed.add(entry.id);
  writing.add(entry.id);
  void session.keepEntry(entry).catch(notKept).then(() => {
    writing.delete(entry.id);
    const now = find(entry.id);
    if (changed.delete(entry.id) && now) keep(now);
  });
}

function notKept(error: unknown): void {
  console.info("not kept:", error);
}
