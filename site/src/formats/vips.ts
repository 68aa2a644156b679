/** TIFF, AVIF and GIF, and how WebP is encoded, by libvips itself: as by the command line. */

import type Vips from "wasm-vips";
import type { Picture } from "../restore/field";
import { joined, latin, startsWith, viewOf } from "./bytes";
import { NotHere, addressOf, codec } from "./codecs";
import { uprightBlock, withThumbnail } from "./exif";
import { carriedTags } from "./tiff_tags";
import type { Read, Traits } from "./photo";

type Library = Awaited<ReturnType<typeof Vips>>;
type Image = Vips.Image;

export type VipsFormat = "tiff" | "avif" | "gif";
const LOADERS: Record<string, VipsFormat> = { tiffload_buffer: "tiff", heifload_buffer: "avif", gifload_buffer: "gif" };
const PLAIN = ["b-w", "srgb", "rgb16", "grey16", "rgb", "multiband"];
const [EXIF, ICC] = ["exif-data", "icc-profile-data"];
const KEPT = { tiff: [ICC, "xmp-data", "iptc-data"], avif: [ICC, "xmp-data"], gif: [] };
const TOKEN = "unhaze: the block comes here";
const QUICK_FROM = 2_000_000; // pixels from which the encoder of AVIF makes less effort (savers.py)
// Primaries and transfer of AVIF that are taken for sRGB (H.273): 0 and 2 say nothing.
const SRGB = [[0, 1, 2], [0, 1, 2, 6, 13]];

const libraries = new Map<boolean, Promise<Library>>();

/** `withAvif`: its part for AV1, as large as all the others, is there as well. */
function library(withAvif: boolean): Promise<Library> {
  if (!self.crossOriginIsolated) return Promise.reject(new NotHere("NeedsReload"));
  const found = libraries.get(true) ?? libraries.get(withAvif);
  if (found) return found;
  const loading = (async () => {
    const { default: start } = await codec<{ default: typeof Vips }>("vips-es6.js");
    const vips = await start({
      dynamicLibraries: withAvif ? ["vips-heif.wasm"] : [],
      locateFile: (name) => addressOf(name),
    });
    vips.blockUntrusted(true);
    vips.Cache.max(0);
    return vips;
  })();
  libraries.set(withAvif, loading);
  loading.catch(() => libraries.delete(withAvif));
  return loading;
}

export function vipsFormat(bytes: Uint8Array): VipsFormat | null {
  if (startsWith(bytes, "II*\0") || startsWith(bytes, "MM\0*")) return "tiff";
  if (startsWith(bytes, "GIF8")) return "gif";
  return startsWith(bytes, "ftypavif", 4) ? "avif" : null;
}

/** Samples as they are stored, but that AVIF is turned upright. NotHere: see there. */
export async function readByVips(bytes: Uint8Array<ArrayBuffer>, format: VipsFormat): Promise<Read> {
  const vips = await library(format === "avif");
  const image = vips.Image.newFromBuffer(bytes);
  try {
    const isFit = LOADERS[image.getString("vips-loader")] === format && PLAIN.includes(nameOf(vips.Interpretation, image.interpretation));
    const wide = nameOf(vips.BandFormat, image.format) === "ushort";
    const depths = wide || nameOf(vips.BandFormat, image.format) === "uchar";
    if (!isFit || !depths || image.bands > 4 || (format === "avif" && !isSrgb(bytes))) throw new NotHere("NeedsServer");
    const { width, height, bands } = image;
    const raw = image.writeToMemory();
    const samples = wide ? new Uint16Array(raw.buffer as ArrayBuffer, raw.byteOffset, width * height * bands) : (raw as Uint8Array);
    const block = blobOf(image, EXIF);
    const exif = block && (startsWith(block, "Exif\0\0") ? block.slice(6) : block);
    const known = {
      format, width, height, wide, grey: bands < 3, alpha: bands % 2 === 0, profile: blobOf(image, ICC),
      exif: exif && format === "avif" ? uprightBlock(exif) : exif,
      orientation: format === "tiff" && image.getTypeof("orientation") ? image.getInt("orientation") : 1,
      white: wide ? 65535 : 255, quality: null, lossless: false,
      fullChroma: format === "avif" && hasFullChroma(bytes),
    };
    const pages = image.getTypeof("n-pages") ? image.getInt("n-pages") : 1;
    const traits: Traits = { ...known, lost: pages > 1 ? ["frames"] : [] };
    return { picture: { width, height, data: fourBands(samples, bands) }, traits };
  } finally {
    image.delete();
  }
}

/** The file of a restored picture, with what `original` has beside its pixels. */
export async function writeByVips(
  picture: Picture, traits: Traits, original: Uint8Array<ArrayBuffer>, thumbnail: Uint8Array | null,
): Promise<Uint8Array<ArrayBuffer>> {
  const format = traits.format as VipsFormat;
  const vips = await library(format === "avif");
  const source = vips.Image.newFromBuffer(original);
  const image = imageOf(vips, picture, traits);
  try {
    for (const key of KEPT[format]) {
      const block = blobOf(source, key);
      if (block) image.setBlob(key, block);
    }
    if (format === "gif") return image.gifsaveBuffer({ dither: 1 }).slice();
    if (format === "tiff") {
      const scaled = image.copy({ xres: source.xres, yres: source.yres });
      if (traits.orientation > 1) scaled.setInt("orientation", traits.orientation);
      const encoded = scaled.tiffsaveBuffer({ compression: "lzw", predictor: "horizontal", ...unitOf(source) });
      scaled.delete();
      return carriedTags(original, encoded);
    }
    const exif = traits.exif && withThumbnail(traits.exif, thumbnail);
    if (exif) image.setBlob(EXIF, placeholder(exif.length));
    const options = { compression: "av1", bitdepth: traits.wide ? 12 : 8, Q: 80, subsample_mode: traits.fullChroma ? "off" : "on" };
    const encoded = image.heifsaveBuffer({ ...options, effort: picture.width * picture.height <= QUICK_FROM ? 3 : 0 }).slice();
    if (exif) replacePlaceholder(encoded, exif);
    return encoded;
  } finally {
    image.delete();
    source.delete();
  }
}

/** A WebP file without metadata. NotHere: see there. */
export async function encodeWebp(picture: Picture, traits: Traits, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const vips = await library(false);
  const image = imageOf(vips, picture, { ...traits, grey: false });
  try {
    return image.webpsaveBuffer({ Q: quality, lossless: traits.lossless, exact: true, smart_subsample: true, keep: "none" }).slice();
  } finally {
    image.delete();
  }
}

function imageOf(vips: Library, { width, height, data }: Picture, { grey, alpha, wide }: Traits): Image {
  const kept = [...(grey ? [0] : [0, 1, 2]), ...(alpha ? [3] : [])];
  const samples = wide ? new Uint16Array(width * height * kept.length) : new Uint8Array(width * height * kept.length);
  for (let i = 0, at = 0; i < width * height; i++) for (const band of kept) samples[at++] = data[4 * i + band]!;
  const image = vips.Image.newFromMemory(samples, width, height, kept.length, wide ? vips.BandFormat.ushort : vips.BandFormat.uchar);
  const named = grey ? (wide ? "grey16" : "b-w") : wide ? "rgb16" : "srgb";
  const whole = image.copy({ interpretation: named });
  image.delete();
  return whole;
}

function fourBands(samples: Uint8Array | Uint16Array, bands: number): Picture["data"] {
  const count = samples.length / bands;
  const wide = samples.BYTES_PER_ELEMENT === 2;
  const data = wide ? new Uint16Array(4 * count) : new Uint8Array(4 * count);
  const from = bands < 3 ? [0, 0, 0] : [0, 1, 2];
  for (let i = 0; i < count; i++) {
    for (let channel = 0; channel < 3; channel++) data[4 * i + channel] = samples[bands * i + from[channel]!]!;
    data[4 * i + 3] = bands % 2 === 0 ? samples[bands * i + bands - 1]! : wide ? 65535 : 255;
  }
  return data;
}

/** libvips gives names or numbers. */
function nameOf(names: object, value: unknown): string {
  if (typeof value === "string") return value;
  const number = typeof value === "object" && value !== null ? (value as { value: number }).value : value;
  const found = Object.entries(names).find(([, each]) => each === value || (each as { value?: number })?.value === number || each === number);
  return found?.[0].replace("_", "-") ?? String(value);
}

function blobOf(image: Image, key: string): Uint8Array<ArrayBuffer> | null {
  return image.getTypeof(key) ? image.getBlob(key).slice() : null;
}

function unitOf(source: Image): { resunit?: "inch" | "cm" } {
  return source.getTypeof("resolution-unit") && source.getString("resolution-unit") === "in" ? { resunit: "inch" } : { resunit: "cm" };
}

/** Of AVIF: what its first nclx box says (ISO/IEC 14496-12, 12.1.5); a profile is heeded anyway. */
function isSrgb(bytes: Uint8Array): boolean {
  const at = found(bytes.subarray(0, 1 << 16), "colrnclx");
  if (at < 0) return true;
  const numbers = [0, 2].map((each) => viewOf(bytes).getUint16(at + 8 + each));
  return numbers.every((each, i) => SRGB[i]!.includes(each));
}

/** Of AVIF: neither halved across nor down (AV1-ISOBMFF, 2.3.3). */
function hasFullChroma(bytes: Uint8Array): boolean {
  const at = found(bytes.subarray(0, 1 << 16), "av1C");
  return at >= 0 && (bytes[at + 6]! & 0x0c) === 0;
}

function found(bytes: Uint8Array, sign: string): number {
  for (let at = 0; at + sign.length <= bytes.length; at++) if (startsWith(bytes, sign, at)) return at;
  return -1;
}

/** EXIF that libvips, which writes no tags that it does not know, makes into at least `size` bytes. */
function placeholder(size: number): Uint8Array {
  const note = joined([latin(TOKEN), new Uint8Array(size)]);
  const head = new Uint8Array(44);
  const view = viewOf(head);
  head.set(latin("II*\0"));
  view.setUint32(4, 8, true);
  const entry = (at: number, tag: number, kind: number, count: number, value: number) => {
    view.setUint16(at, 1, true); // the only one of its directory
    view.setUint16(at + 2, tag, true);
    view.setUint16(at + 4, kind, true);
    view.setUint32(at + 6, count, true);
    view.setUint32(at + 10, value, true);
  };
  entry(8, 34665, 4, 1, 26); // EXIF's directory
  entry(26, 37500, 7, note.length, 44); // a maker note
  return joined([latin("Exif\0\0"), head, note]);
}

/** The block over the placeholder, from where its TIFF structure begins; zeros fill the rest. */
function replacePlaceholder(file: Uint8Array, block: Uint8Array): void {
  const token = found(file, TOKEN);
  let start = token;
  while (start > 0 && !startsWith(file, "II*\0", start)) start--;
  if (token < 0 || token - start > 4096) return;
  file.fill(0, start, token + TOKEN.length + block.length);
  file.set(block, start);
}

