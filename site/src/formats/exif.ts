/** EXIF blocks (TIFF structures): edited in place only, so that maker notes that point still fit. */

import { startsWith, viewOf } from "./bytes";

const ORIENTATION = 0x0112;
const THUMBNAIL_AT = 0x0201;
const THUMBNAIL_SIZE = 0x0202;
const LONG = 4;

interface Entry {
  tag: number;
  kind: number;
  count: number;
  /** Where its value, or the pointer to it, stands. */
  at: number;
}

interface Directory {
  entries: Entry[];
  next: number;
}

/** 1 to 8, how the stored rows are to be turned to be seen upright; 1 where the block is damaged. */
export function orientationOf(block: Uint8Array | null): number {
  const found = block && first(block)?.entries.find((each) => each.tag === ORIENTATION);
  if (!found) return 1;
  const value = viewOf(block).getUint16(found.at, isLittle(block));
  return value >= 1 && value <= 8 ? value : 1;
}

/** A copy that says the rows need no turning. */
export function uprightBlock(block: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = block.slice();
  const found = first(copy)?.entries.find((each) => each.tag === ORIENTATION);
  if (found) viewOf(copy).setUint16(found.at, 1, isLittle(copy));
  return copy;
}

/** Bytes that the thumbnail has, 0 without one. */
export function thumbnailRoom(block: Uint8Array): number {
  const place = thumbnailPlace(block);
  return place ? place.size : 0;
}

/** A copy whose thumbnail is `thumbnail`, a JPEG of at most its room; null: it has none any more. */
export function withThumbnail(block: Uint8Array, thumbnail: Uint8Array | null): Uint8Array<ArrayBuffer> {
  const copy = block.slice();
  const place = thumbnailPlace(copy);
  if (!place) return copy;
  copy.fill(0, place.start, place.start + place.size);
  if (thumbnail && thumbnail.length <= place.size) copy.set(thumbnail, place.start);
  const size = thumbnail && thumbnail.length <= place.size ? thumbnail.length : 0;
  viewOf(copy).setUint32(place.sizeAt, size, isLittle(copy));
  return copy;
}

function thumbnailPlace(block: Uint8Array): { start: number; size: number; sizeAt: number } | null {
  const main = first(block);
  const second = main && main.next ? directory(block, main.next) : null;
  const at = second?.entries.find((each) => each.tag === THUMBNAIL_AT);
  const length = second?.entries.find((each) => each.tag === THUMBNAIL_SIZE);
  if (!at || !length || at.kind !== LONG || length.kind !== LONG) return null;
  const view = viewOf(block);
  const start = view.getUint32(at.at, isLittle(block));
  const size = view.getUint32(length.at, isLittle(block));
  return start + size <= block.length ? { start, size, sizeAt: length.at } : null;
}

function isLittle(block: Uint8Array): boolean {
  return startsWith(block, "II");
}

function first(block: Uint8Array): Directory | null {
  if (block.length < 14 || !(startsWith(block, "II") || startsWith(block, "MM"))) return null;
  return directory(block, viewOf(block).getUint32(4, isLittle(block)));
}

function directory(block: Uint8Array, at: number): Directory | null {
  const view = viewOf(block);
  const little = isLittle(block);
  if (at + 2 > block.length) return null;
  const count = view.getUint16(at, little);
  const end = at + 2 + 12 * count;
  if (end > block.length) return null;
  const entries = Array.from({ length: count }, (_, i) => {
    const place = at + 2 + 12 * i;
    return {
      tag: view.getUint16(place, little),
      kind: view.getUint16(place + 2, little),
      count: view.getUint32(place + 4, little),
      at: place + 8,
    };
  });
  return { entries, next: end + 4 <= block.length ? view.getUint32(end, little) : 0 };
}
