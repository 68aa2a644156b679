/** A photo file becomes samples as stored, and restored samples a file in the same format. */

import type { Picture } from "../restore/field";
import { isOpaque } from "../restore/analysis";
import { NotHere } from "./codecs";
import { orientationOf, thumbnailRoom } from "./exif";
import { holderOf, isHeic, readHeic } from "./heic";
import * as jpeg from "./jpeg";
import { encodeJpeg } from "./jpeg_encoder";
import * as png from "./png";
import { encodeWebp, readByVips, vipsFormat, writeByVips } from "./vips";
import * as webp from "./webp";

export type Format = "jpeg" | "png" | "webp" | "tiff" | "avif" | "gif" | "heic" | "other";

/**
 * All of a file but its pixels. `orientation`: 1-8 as in EXIF. `lost`: what no result holds.
 * `metadata`: of HEIC, as a JPEG file without a picture.
 */
export interface Traits {
  format: Format;
  width: number;
  height: number;
  orientation: number;
  profile: Uint8Array | null;
  exif: Uint8Array | null;
  grey: boolean;
  alpha: boolean;
  wide: boolean;
  /** The sample that is white: less than the largest where 16 bits hold a camera's 10, 12 or 14. */
  white: number;
  quality: number | null;
  lossless: boolean;
  fullChroma: boolean;
  lost: Lost[];
  metadata?: Uint8Array<ArrayBuffer>;
}

export type Lost = "behind" | "frames" | "metadata" | "heic" | "alpha";
export class Unreadable extends Error {
  override name = "Unreadable";
}

const NARROW = [255, 1023, 4095, 16383];
const STRIP = 1 << 22; // pixels that a canvas decodes at once: phones bound the size of one
export const SUFFIXES: Record<Format, string> = {
  jpeg: "jpg", png: "png", webp: "webp", tiff: "tif", avif: "avif", gif: "gif", heic: "jpg", other: "png",
};
export const TYPES: Record<Format, string> = {
  jpeg: "image/jpeg", png: "image/png", webp: "image/webp", tiff: "image/tiff", avif: "image/avif", gif: "image/gif",
  heic: "image/jpeg", other: "image/png",
};

export interface Read {
  traits: Traits;
  picture: Picture;
}

/** Samples as they are stored, not turned and in the file's own colours. Unreadable: no picture. */
export async function readPhoto(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<Read> {
  try {
    if (jpeg.isJpeg(bytes)) return await readJpeg(bytes);
    if (png.isPng(bytes)) return readPng(bytes);
    if (webp.isWebp(bytes)) return await readWebp(bytes);
    return await readByLibrary(bytes, type);
  } catch (error) {
    if (error instanceof Unreadable || error instanceof NotHere) throw error;
    console.info("unreadable:", error);
    throw new Unreadable(String(error));
  }
}

/** By libvips or libheif; where they are not, what the browser can show loses all but its picture. */
async function readByLibrary(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<Read> {
  const format = vipsFormat(bytes);
  try {
    if (isHeic(bytes)) return await readPhone(bytes);
    if (format) return await readByVips(bytes, format);
  } catch (error) {
    if (!(error instanceof NotHere) || error.name === "NeedsReload") throw error;
    const picture = await decoded(new Blob([bytes], { type }), "default").catch(() => null);
    if (!picture) throw error;
    return other(picture);
  }
  return other(await decoded(new Blob([bytes], { type }), "default"));
}

function other(picture: Picture): Read {
  const alpha = !isOpaque(picture.data, 255);
  return { picture, traits: { ...plain(picture), format: "other", alpha, lost: ["metadata"] } };
}

async function readPhone(bytes: Uint8Array): Promise<Read> {
  const { picture, exif, xmp, profile, alpha, behind } = await readHeic(bytes);
  const lost: Lost[] = ["heic", ...(alpha ? (["alpha"] as const) : []), ...(behind ? (["behind"] as const) : [])];
  const known = { exif, profile, lost, metadata: holderOf({ exif, xmp, profile }) };
  return { picture, traits: { ...plain(picture), ...known, format: "heic" } };
}

function plain({ width, height }: Picture): Traits {
  return {
    format: "png", width, height, orientation: 1, profile: null, exif: null, grey: false, alpha: false,
    wide: false, white: 255, quality: null, lossless: false, fullChroma: true, lost: [],
  };
}

async function readJpeg(bytes: Uint8Array<ArrayBuffer>): Promise<Read> {
  const { exif, profile, grey, quality, fullChroma, behind } = jpeg.factsOf(bytes);
  const picture = await decoded(new Blob([jpeg.bare(bytes)], { type: "image/jpeg" }));
  const known = { exif, profile, grey, quality, fullChroma, orientation: orientationOf(exif) };
  return { picture, traits: { ...plain(picture), ...known, format: "jpeg", lost: behind ? ["behind"] : [] } };
}

function readPng(bytes: Uint8Array): Read {
  const { picture, grey, alpha, profile, exif } = png.decodePng(bytes);
  const wide = picture.data.BYTES_PER_ELEMENT === 2;
  const known = { grey, alpha, profile, exif, wide, white: whiteOf(picture), orientation: orientationOf(exif) };
  return { picture, traits: { ...plain(picture), ...known } };
}

/** Where none is above a camera's bits, their largest is white (managed.py). */
function whiteOf({ data }: Picture): number {
  if (data.BYTES_PER_ELEMENT === 1) return 255;
  let most = 0;
  for (let i = 0; i < data.length; i++) if (i % 4 !== 3 && data[i]! > most) most = data[i]!;
  return NARROW.find((each) => most <= each) ?? 65535;
}

async function readWebp(bytes: Uint8Array<ArrayBuffer>): Promise<Read> {
  const { profile, exif, alpha, lossless, quality, animated } = webp.factsOf(bytes);
  const lost: Lost[] = animated ? ["frames"] : [];
  const { default: decode } = await import("@jsquash/webp/decode");
  const { width, height, data } = animated
    ? await decoded(new Blob([bytes], { type: "image/webp" }))
    : await decode(bytes.buffer);
  const picture = { width, height, data };
  const known = { profile, exif, alpha, lossless, quality, orientation: orientationOf(exif), fullChroma: lossless };
  return { picture, traits: { ...plain(picture), ...known, format: "webp", lost } };
}

/** By the browser, in strips; the samples as they are, or (`default`) as sRGB. */
async function decoded(blob: Blob, colorSpaceConversion: ColorSpaceConversion = "none"): Promise<Picture> {
  const options = { colorSpaceConversion, premultiplyAlpha: "none", imageOrientation: "from-image" } as const;
  const bitmap = await createImageBitmap(blob, options);
  const { width, height } = bitmap;
  const rows = Math.max(1, Math.min(height, Math.floor(STRIP / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Unreadable("no canvas");
  const data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += rows) {
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const count = Math.min(rows, height - top);
    data.set(context.getImageData(0, 0, width, count).data, 4 * width * top);
  }
  bitmap.close();
  return { width, height, data };
}

/** The file of a restored picture. `original`: the bytes that it was read from. */
export async function writePhoto(
  picture: Picture, traits: Traits, original: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const thumbnail = traits.exif ? thumbnailOf(picture, traits.white, thumbnailRoom(traits.exif)) : null;
  if (traits.format === "tiff" || traits.format === "avif" || traits.format === "gif") {
    return writeByVips(picture, traits, original, thumbnail);
  }
  if (traits.format === "jpeg" || traits.format === "heic") {
    const quality = Math.min(98, Math.max(75, traits.quality ?? 92));
    return jpeg.withMetadata(encodeJpeg(picture, { ...traits, quality }), traits.metadata ?? original, thumbnail);
  }
  if (traits.format === "webp") return webp.withMetadata(await encodedWebp(picture, traits), original, picture, thumbnail);
  return png.encodePng(picture, traits, traits.format === "png" ? original : null, thumbnail);
}

/** Lossy by libvips, the same to the bit as by the command line; where it is not, by another libwebp. */
async function encodedWebp(picture: Picture, traits: Traits): Promise<Uint8Array> {
  const quality = Math.min(98, Math.max(75, traits.quality ?? 90));
  if (!traits.lossless) {
    try {
      return await encodeWebp(picture, traits, quality);
    } catch (error) {
      if (!(error instanceof NotHere)) throw error;
    }
  }
  const { default: encode } = await import("@jsquash/webp/encode");
  return new Uint8Array(await encode(imageData(picture), { quality, lossless: traits.lossless ? 1 : 0, exact: 1, use_sharp_yuv: 1 }));
}

/** A small JPEG of at most `room` bytes, null if that cannot be. */
function thumbnailOf(picture: Picture, white: number, room: number): Uint8Array | null {
  if (room === 0) return null;
  const step = Math.max(1, Math.ceil(Math.max(picture.width, picture.height) / 160));
  const width = Math.max(1, Math.floor(picture.width / step));
  const height = Math.max(1, Math.floor(picture.height / step));
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const from = 4 * (Math.floor(i / width) * step * picture.width + (i % width) * step);
    for (let channel = 0; channel < 4; channel++) data[4 * i + channel] = picture.data[from + channel]! * (255 / white);
  }
  for (const quality of [90, 75, 60, 40, 20]) {
    const encoded = encodeJpeg({ width, height, data }, { quality, grey: false, fullChroma: false });
    if (encoded.length <= room) return encoded;
  }
  return null;
}

function imageData({ width, height, data }: Picture): ImageData {
  const samples = new Uint8ClampedArray(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  return new ImageData(samples, width, height);
}
