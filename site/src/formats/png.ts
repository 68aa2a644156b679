/** PNG files: decoded by fast-png, encoded here, because no small library streams 16 bits (PNG, 3rd ed.). */

import { decode } from "fast-png";
import type { Picture } from "../restore/field";
import { joined, latin, startsWith, viewOf } from "./bytes";
import { withThumbnail } from "./exif";

const SIGNATURE = "\x89PNG\r\n\x1a\n";
const FILTERS = [0, 1, 2, 4]; // none, sub, up, Paeth
// Written anew with the pixels, or fitting only the old ones (palette, animation, C2PA).
const REBUILT = new Set(["IHDR", "PLTE", "IDAT", "IEND", "tRNS", "bKGD", "hIST", "sBIT", "sPLT", "acTL", "fcTL", "fdAT", "caBX"]);

export interface PngPicture {
  picture: Picture;
  grey: boolean;
  alpha: boolean;
  profile: Uint8Array | null;
  exif: Uint8Array | null;
}

export function isPng(bytes: Uint8Array): boolean {
  return startsWith(bytes, SIGNATURE);
}

export function decodePng(bytes: Uint8Array): PngPicture {
  const png = decode(bytes);
  const { width, height, depth } = png;
  const exif = [...chunksOf(bytes)].find((each) => each.kind === "eXIf")?.data ?? null;
  const facts = { profile: png.iccEmbeddedProfile?.profile ?? null, exif };
  if (png.palette) {
    const alpha = png.palette.some((entry) => entry.length > 3 && entry[3] !== 255);
    const data = new Uint8Array(4 * width * height);
    for (let i = 0; i < width * height; i++) {
      data.set(png.palette[indexAt(png, i)] ?? [0, 0, 0], 4 * i);
      if ((png.palette[indexAt(png, i)]?.length ?? 3) < 4) data[4 * i + 3] = 255;
    }
    return { picture: { width, height, data }, grey: false, alpha, ...facts };
  }
  const { channels } = png;
  const wide = depth === 16;
  const top = wide ? 65535 : 255;
  const scale = depth < 8 ? 255 / ((1 << depth) - 1) : 1;
  const data = wide ? new Uint16Array(4 * width * height) : new Uint8Array(4 * width * height);
  const colours = channels < 3 ? [0, 0, 0] : [0, 1, 2];
  const hidden = png.transparency;
  for (let i = 0; i < width * height; i++) {
    const start = channels * i;
    for (let channel = 0; channel < 3; channel++) {
      const sample = depth < 8 ? sampleAt(png, i) : png.data[start + colours[channel]!]!;
      data[4 * i + channel] = sample * scale;
    }
    const isHidden = hidden?.length && colours.every((from, j) => {
      const sample = depth < 8 ? sampleAt(png, i) : png.data[start + from]!;
      return sample === hidden[channels < 3 ? 0 : j];
    });
    data[4 * i + 3] = channels % 2 === 0 ? png.data[start + channels - 1]! : isHidden ? 0 : top;
  }
  const alpha = channels % 2 === 0 || Boolean(hidden?.length);
  return { picture: { width, height, data }, grey: channels < 3, alpha, ...facts };
}

type Decoded = ReturnType<typeof decode>;

/** Samples of 1, 2 or 4 bits lie packed in bytes, each row from a new byte on. */
function sampleAt(png: Decoded, pixel: number): number {
  const row = Math.floor(pixel / png.width);
  const column = pixel % png.width;
  const line = Math.ceil((png.width * png.depth) / 8);
  const bit = column * png.depth;
  const shift = 8 - png.depth - (bit % 8);
  return (png.data[row * line + (bit >> 3)]! >> shift) & ((1 << png.depth) - 1);
}

function indexAt(png: Decoded, pixel: number): number {
  return png.depth === 8 ? png.data[pixel]! : sampleAt(png, pixel);
}

/** `original`: a PNG file whose metadata go into the new one. */
export async function encodePng(
  picture: Picture, kind: { grey: boolean; alpha: boolean }, original: Uint8Array | null, thumbnail: Uint8Array | null,
): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height, data } = picture;
  const wide = data.BYTES_PER_ELEMENT === 2;
  const header = new Uint8Array(13);
  viewOf(header).setUint32(0, width);
  viewOf(header).setUint32(4, height);
  header.set([wide ? 16 : 8, (kind.grey ? 0 : 2) + (kind.alpha ? 4 : 0)], 8);
  const before: Uint8Array[] = [];
  const after: Uint8Array[] = [];
  let hasPixels = false;
  for (const each of original ? chunksOf(original) : []) {
    hasPixels ||= each.kind === "IDAT";
    if (REBUILT.has(each.kind)) continue;
    const content = each.kind === "eXIf" ? withThumbnail(each.data, thumbnail) : each.data;
    (hasPixels ? after : before).push(chunk(each.kind, content));
  }
  const pixels = await deflated(filteredRows(picture, kind));
  const parts = [latin(SIGNATURE), chunk("IHDR", header), ...before, chunk("IDAT", pixels), ...after];
  return joined([...parts, chunk("IEND", new Uint8Array(0))]);
}

/** The rows, each with the filter of which the sum of differences is least (12.8). */
function* filteredRows(picture: Picture, kind: { grey: boolean; alpha: boolean }): Generator<Uint8Array<ArrayBuffer>> {
  const { width, height, data } = picture;
  const size = data.BYTES_PER_ELEMENT;
  const channels = [...(kind.grey ? [0] : [0, 1, 2]), ...(kind.alpha ? [3] : [])];
  const step = channels.length * size;
  let line = new Uint8Array(width * step);
  let above = new Uint8Array(width * step);
  const rows = FILTERS.map((filter) => {
    const row = new Uint8Array(1 + width * step);
    row[0] = filter;
    return row;
  });
  const sums = new Float64Array(FILTERS.length);
  const note = (filter: number, i: number, value: number) => {
    const difference = value & 0xff;
    rows[filter]![i + 1] = difference;
    sums[filter]! += difference < 128 ? difference : 256 - difference;
  };
  for (let row = 0; row < height; row++) {
    for (let i = 0, at = 0; i < width; i++) {
      for (const channel of channels) {
        const sample = data[4 * (row * width + i) + channel]!;
        if (size === 2) line[at++] = sample >> 8;
        line[at++] = sample & 0xff;
      }
    }
    sums.fill(0);
    for (let i = 0; i < line.length; i++) {
      const value = line[i]!;
      const left = i < step ? 0 : line[i - step]!;
      const up = above[i]!;
      const corner = i < step ? 0 : above[i - step]!;
      note(0, i, value);
      note(1, i, value - left);
      note(2, i, value - up);
      note(3, i, value - paeth(left, up, corner));
    }
    yield rows[sums.indexOf(Math.min(...sums))]!.slice();
    [line, above] = [above, line];
  }
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const toLeft = Math.abs(guess - left);
  const toUp = Math.abs(guess - up);
  const toCorner = Math.abs(guess - corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

async function deflated(rows: Generator<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  const stream = new CompressionStream("deflate");
  const result = new Response(stream.readable).arrayBuffer();
  const writer = stream.writable.getWriter();
  const batch: Uint8Array[] = [];
  let size = 0;
  const flush = async () => {
    await writer.write(joined(batch.splice(0)));
    size = 0;
  };
  for (const row of rows) {
    batch.push(row);
    size += row.length;
    if (size > 1 << 20) await flush();
  }
  await flush();
  await writer.close();
  return new Uint8Array(await result);
}

function* chunksOf(bytes: Uint8Array): Generator<{ kind: string; data: Uint8Array }> {
  const view = viewOf(bytes);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const size = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + size > bytes.length) return;
    yield { kind, data: bytes.subarray(at + 8, at + 8 + size) };
    at += 12 + size;
  }
}

function chunk(kind: string, data: Uint8Array): Uint8Array {
  const whole = new Uint8Array(data.length + 12);
  const view = viewOf(whole);
  view.setUint32(0, data.length);
  whole.set(latin(kind), 4);
  whole.set(data, 8);
  view.setUint32(data.length + 8, checksum(whole.subarray(4, data.length + 8)));
  return whole;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function checksum(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const each of bytes) value = CRC[(value ^ each) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
