/** Results out: one file, several in a ZIP, or handed to another app. */

import { signal } from "@preact/signals";
import { downloadZip } from "client-zip";
import { controlsOf, entries, fileOf, firstDone, type Entry } from "./entries";
import { SUFFIXES, TYPES, type Format } from "./formats/photo";
import { fieldOf } from "./fields";
import * as server from "./server";
import { message } from "./taking";
import { pictures } from "./workers";

/** What is being saved: an entry's id, "all", or nothing. */
export const saving = signal<string | null>(null);

/** The restored file at full size, by the first of its models that is done. */
export async function fileOfResult(entry: Entry, model = firstDone(entry)): Promise<File> {
  if (!model) throw new Error("not cleared yet");
  const result = entry.results[model]!;
  if (result.place === "server") {
    const blob = await server.result(entry, model);
    return new File([blob], result.resultName ?? entry.name, { type: blob.type });
  }
  const field = await fieldOf(entry, model, controlsOf(entry));
  const bytes = await pictures().save(fileOf(entry.id), field, entry.strength);
  const format = entry.format as Format;
  return new File([bytes], resultName(entry.name, SUFFIXES[format]), { type: TYPES[format] });
}

export async function saveOne(entry: Entry): Promise<void> {
  await during(entry.id, async () => hand(await fileOfResult(entry)));
}

export async function saveAll(): Promise<void> {
  await during("all", async () => hand(new File([await downloadZip(results()).blob()], "unhaze.zip")));
}

export function canShare(): boolean {
  const probe = new File([], "a.jpg", { type: "image/jpeg" });
  return typeof navigator.canShare === "function" && navigator.canShare({ files: [probe] });
}

export async function share(entry: Entry): Promise<void> {
  await during(entry.id, async () => navigator.share({ files: [await fileOfResult(entry)] }));
}

/** As the command line names results: photo.jpg becomes photo.unhazed.jpg, a suffix that fits stays. */
export function resultName(name: string, suffix: string): string {
  const dot = name.lastIndexOf(".");
  const stem = dot > 0 ? name.slice(0, dot) : name;
  const own = dot > 0 ? name.slice(dot + 1).toLowerCase() : "";
  const kept = `${own} ${suffix}` === "jpeg jpg" || `${own} ${suffix}` === "tiff tif" ? own : suffix;
  return `${stem || "photo"}.unhazed.${kept}`;
}

async function* results(): AsyncGenerator<{ name: string; input: File; lastModified: Date }> {
  const names = new Set<string>();
  for (const entry of entries.value.filter((each) => each.state === "done")) {
    const input = await fileOfResult(entry);
    let name = input.name;
    for (let n = 2; names.has(name); n++) name = input.name.replace(/(\.[^.]*)$/, ` ${n}$1`);
    names.add(name);
    yield { name, input, lastModified: new Date() };
  }
}

async function during(what: string, task: () => Promise<unknown>): Promise<void> {
  saving.value = what;
  try {
    await task();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) message.value = String(error);
  } finally {
    saving.value = null;
  }
}

function hand(file: File): void {
  const address = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = address;
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
