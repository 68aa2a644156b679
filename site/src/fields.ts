/** What models made of photos in this browser: small restored pictures, and the fields that are fitted to them. */

import { transfer } from "comlink";
import { fileOf, find, update, type Entry, type Result } from "./entries";
import { modelInfo } from "./models";
import { AS_MODEL, type Controls, type Places } from "./restore/controlling";
import type { Field, FloatPicture } from "./restore/field";
import * as session from "./session";
import { config } from "./settings";
import { base, networks, pictures } from "./workers";

const KEPT = 4; // fields in memory; what they are made of is in IndexedDB

const fields = new Map<string, Field>();
const restoredPictures = new Map<string, FloatPicture>();

/** Clears a photo by a model. AbortError: `signal`. */
export async function clear(entry: Entry, model: string, signal: AbortSignal): Promise<Result> {
  const { analysis: longSide } = modelInfo(model)!;
  const file = fileOf(entry.id);
  update(entry.id, { step: "reading" });
  const { analysis, traits } = await until(signal, pictures().look(file, longSide));
  const across = traits.orientation > 4;
  const [width, height] = across ? [traits.height, traits.width] : [traits.width, traits.height];
  update(entry.id, { width, height, format: traits.format, lost: traits.lost });
  update(entry.id, { step: "clearing" });
  const started = performance.now();
  const hazy = transfer(analysis, [analysis.data.buffer]);
  const { picture, device } = await until(signal, networks().run(model, hazy, base(), config.value.webgpu));
  update(entry.id, { step: "fitting" });
  const { field, preview, balance } = await until(signal, pictures().fit(file, longSide, picture, AS_MODEL));
  hold(restoredPictures, keyOf(entry.id, model), picture);
  hold(fields, keyOf(entry.id, model, AS_MODEL), field);
  void session.keepRestored(entry.id, model, picture).catch(() => undefined);
  update(entry.id, { preview });
  if (balance && entry.controls.white_balance === null) {
    await until(signal, fieldOf(entry, model, { ...entry.controls, white_balance: balance })); // what will be shown
  }
  return { place: "browser", seconds: (performance.now() - started) / 1000, device, balance };
}

/** The field of a photo as `controls` want it, made anew if it must be. */
export async function fieldOf(entry: Entry, model: string, controls: Controls): Promise<Field> {
  const key = keyOf(entry.id, model, controls);
  const held = fields.get(key);
  if (held) return held;
  const restored = await restoredOf(entry, model);
  const { field, preview } = await pictures().fit(fileOf(entry.id), modelInfo(model)!.analysis, restored, controls);
  update(entry.id, { preview });
  hold(fields, key, field);
  return field;
}

/** What controls go by in a photo. */
export async function placesOf(entry: Entry, model: string): Promise<Places> {
  const restored = await restoredOf(entry, model);
  return pictures().places(fileOf(entry.id), modelInfo(model)!.analysis, restored);
}

/** Lets go of what is in memory of an entry. */
export function release(id: string): void {
  for (const held of [fields, restoredPictures]) {
    for (const key of [...held.keys()]) if (key.startsWith(`${id}/`)) held.delete(key);
  }
}

/** The promise, or a rejection as soon as it is stopped: that of a worker that was ended never settles. */
export function until<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new DOMException("cancelled", "AbortError"));
    if (signal.aborted) return aborted();
    signal.addEventListener("abort", aborted, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", aborted));
  });
}

/** What the network made, upright and in sRGB; computed anew if neither memory nor the browser has kept it. */
async function restoredOf(entry: Entry, model: string): Promise<FloatPicture> {
  const key = keyOf(entry.id, model);
  const kept = restoredPictures.get(key) ?? (await session.keptRestored(entry.id, model).catch(() => undefined));
  if (kept) {
    hold(restoredPictures, key, kept);
    return kept;
  }
  await clear(find(entry.id)!, model, new AbortController().signal);
  return restoredPictures.get(key)!;
}

function hold<T>(held: Map<string, T>, key: string, value: T): void {
  held.delete(key);
  held.set(key, value);
  while (held.size > KEPT) held.delete(held.keys().next().value!);
}

function keyOf(id: string, model: string, controls?: Controls): string {
  return [id, model, ...(controls ? Object.values(controls) : [])].join("/");
}
