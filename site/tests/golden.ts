/** The golden arrays that tools/make_site_golden.py wrote, as typed arrays. */

import { readFileSync } from "node:fs";

const KINDS = { float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array } as const;

export interface Packed {
  type: keyof typeof KINDS;
  shape: number[];
  data: string;
}

export const golden = JSON.parse(
  readFileSync(new URL("./golden.json", import.meta.url), "utf-8"),
) as Record<string, Record<string, unknown>[]>;

export function unpacked(packed: unknown) {
  const { type, shape, data } = packed as Packed;
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return { shape, height: shape[0]!, width: shape[1]!, data: new KINDS[type](bytes.buffer) };
}

/** Red, green, blue and alpha of a packed picture. */
export function picture(packed: unknown, alpha?: unknown) {
  const { data, width, height } = unpacked(packed);
  const top = data.BYTES_PER_ELEMENT === 2 ? 65535 : 255;
  const opacity = alpha ? unpacked(alpha).data : null;
  const samples = data instanceof Uint16Array ? new Uint16Array(width * height * 4) : new Uint8Array(width * height * 4);
  for (let i = 0; i < width * height; i++) {
    samples.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    samples[4 * i + 3] = opacity ? opacity[i]! : top;
  }
  return { width, height, data: samples };
}

export function largestDifference(one: ArrayLike<number>, other: ArrayLike<number>): number {
  if (one.length !== other.length) throw new Error(`${one.length} and ${other.length} values`);
  let largest = 0;
  for (let i = 0; i < one.length; i++) largest = Math.max(largest, Math.abs(one[i]! - other[i]!));
  return largest;
}
