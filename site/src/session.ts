/** What survives a reload: photos, what models made of them and thumbnails in IndexedDB, on this device only. */

import { deleteDB, openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { FloatPicture } from "./restore/field";
import type { Entry } from "./entries";

const NAME = "unhaze";

interface Schema extends DBSchema {
  entries: { key: string; value: Entry };
  files: { key: string; value: Blob };
  restored: { key: string; value: FloatPicture };
}

let opening: Promise<IDBPDatabase<Schema>> | null = null;

function database(): Promise<IDBPDatabase<Schema>> {
  opening ??= openDB<Schema>(NAME, 2, {
    upgrade(db, before) {
      if (before === 1) db.deleteObjectStore("fields" as never); // which are made of "restored" now
      else for (const store of ["entries", "files"] as const) db.createObjectStore(store);
      db.createObjectStore("restored");
    },
  });
  return opening;
}

/** Everything kept of earlier visits, oldest first; nothing where the browser keeps nothing. */
export async function restored(): Promise<{ entry: Entry; file: Blob }[]> {
  const db = await database();
  const entries = (await db.getAll("entries")).sort((one, other) => one.added - other.added);
  const files = await Promise.all(entries.map((entry) => db.get("files", entry.id)));
  return entries.flatMap((entry, i) => (files[i] ? [{ entry, file: files[i] }] : []));
}

export async function keepFile(id: string, file: Blob): Promise<void> {
  await (await database()).put("files", file, id);
}

export async function keepEntry(entry: Entry): Promise<void> {
  await (await database()).put("entries", entry, entry.id);
}

export async function keepRestored(id: string, model: string, picture: FloatPicture): Promise<void> {
  await (await database()).put("restored", picture, `${id}/${model}`);
}

export async function keptRestored(id: string, model: string): Promise<FloatPicture | undefined> {
  return (await database()).get("restored", `${id}/${model}`);
}

export async function forget(id: string): Promise<void> {
  const db = await database();
  const change = db.transaction(["entries", "files", "restored"], "readwrite");
  const models = IDBKeyRange.bound(`${id}/`, `${id}/\uffff`);
  await Promise.all([
    change.objectStore("entries").delete(id),
    change.objectStore("files").delete(id),
    change.objectStore("restored").delete(models),
    change.done,
  ]);
}

/** Everything of this page on this device. */
export async function forgetAll(): Promise<void> {
  (await opening)?.close();
  opening = null;
  await deleteDB(NAME);
}
