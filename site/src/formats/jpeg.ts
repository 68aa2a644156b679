/** JPEG files: what their segments tell, and their carrying over into another file (JPEG, annex B). */

import { joined, latin, startsWith, viewOf } from "./bytes";
import { withThumbnail } from "./exif";

const APP = 0xe0;
const COMMENT = 0xfe;
const SCAN = 0xda;
const TABLES = 0xdb;
const EXIF = "Exif\0\0";
const ICC = "ICC_PROFILE\0";
const STANDARD_SUM = 3694; // of the standard luminance table (annex K.1)
// Written anew with the pixels, or fitting only those: JFIF, C2PA, Adobe's colour transform.
const REBUILT = new Set([APP, APP + 11, APP + 14]);

export interface JpegFacts {
  exif: Uint8Array | null;
  profile: Uint8Array | null;
  grey: boolean;
  quality: number | null;
  fullChroma: boolean;
  /** Whether something follows the picture: gain maps, depth, a video. */
  behind: boolean;
}

interface Segment {
  marker: number;
  /** With marker and length. */
  whole: Uint8Array;
  data: Uint8Array;
}

export function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

export function factsOf(bytes: Uint8Array): JpegFacts {
  const segments = [...segmentsOf(bytes)];
  const facts: JpegFacts = {
    exif: null, profile: null, grey: false, quality: null, fullChroma: true, behind: false,
  };
  const pieces = segments.filter((each) => each.marker === APP + 2 && startsWith(each.data, ICC));
  pieces.sort((one, other) => one.data[ICC.length]! - other.data[ICC.length]!);
  if (pieces.length) facts.profile = joined(pieces.map((each) => each.data.subarray(ICC.length + 2)));
  for (const { marker, data } of segments) {
    if (marker === APP + 1 && startsWith(data, EXIF)) facts.exif ??= data.subarray(EXIF.length);
    else if (marker === TABLES) facts.quality = qualityOf(data) ?? facts.quality;
    else if (isFrame(marker)) {
      facts.grey = data[5] === 1;
      const sampling = [0, 1, 2].map((i) => data[7 + 3 * i]);
      facts.fullChroma = facts.grey || sampling.every((each) => each === sampling[0]);
    } else if (marker === APP + 2 && startsWith(data, "MPF\0")) facts.behind = true;
  }
  return facts;
}

/** The file without profile and orientation: browsers then decode the samples as they are. */
export function bare(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const parts = [bytes.subarray(0, 2)];
  let end = 2;
  for (const { marker, whole } of segmentsOf(bytes)) {
    end = whole.byteOffset - bytes.byteOffset + whole.length;
    const isNote = marker === COMMENT || (marker > APP && marker < APP + 16 && marker !== APP + 14);
    if (!isNote) parts.push(whole);
  }
  return joined([...parts, bytes.subarray(end)]);
}

/** `encoded`, a new file without metadata, with those of `original`. */
export function withMetadata(
  encoded: Uint8Array, original: Uint8Array, thumbnail: Uint8Array | null,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let density: Uint8Array | null = null;
  for (const { marker, whole, data } of segmentsOf(original)) {
    if (marker === APP && startsWith(data, "JFIF\0")) density = data.subarray(7, 12);
    if (marker === APP + 2 && !startsWith(data, ICC)) continue;
    if (marker === APP + 1 && startsWith(data, EXIF)) {
      parts.push(segment(marker, joined([latin(EXIF), withThumbnail(data.subarray(EXIF.length), thumbnail)])));
    } else if (marker === COMMENT || (marker > APP && marker < APP + 16 && !REBUILT.has(marker))) {
      parts.push(whole);
    }
  }
  const head = segmentsOf(encoded).next().value;
  const isJfif = head?.marker === APP && startsWith(head.data, "JFIF\0");
  const start = isJfif ? 2 + head.whole.length : 2;
  const begin = encoded.slice(0, start);
  if (isJfif) begin.set(density ?? Uint8Array.of(0, 0, 1, 0, 1), 13);
  return joined([begin, ...parts, encoded.subarray(start)]);
}

function segment(marker: number, data: Uint8Array): Uint8Array {
  const head = Uint8Array.of(0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 0xff);
  return joined([head, data]);
}

/** The segments before the first scan. */
function* segmentsOf(bytes: Uint8Array): Generator<Segment> {
  const view = viewOf(bytes);
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const size = view.getUint16(at + 2);
    if (marker === SCAN || at + 2 + size > bytes.length) return;
    yield { marker, whole: bytes.subarray(at, at + 2 + size), data: bytes.subarray(at + 4, at + 2 + size) };
    at += 2 + size;
  }
}

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/** 1 to 100, by the scale of the luminance table. */
function qualityOf(tables: Uint8Array): number | null {
  const wide = tables[0] === 0x10;
  if ((!wide && tables[0] !== 0) || tables.length < (wide ? 129 : 65)) return null;
  let sum = 0;
  for (let i = 0; i < 64; i++) sum += wide ? tables[1 + 2 * i]! * 256 + tables[2 + 2 * i]! : tables[1 + i]!;
  const percent = (100 * sum) / STANDARD_SUM;
  const quality = percent > 100 ? 5000 / percent : (200 - percent) / 2;
  return Math.min(100, Math.max(1, Math.round(quality)));
}
