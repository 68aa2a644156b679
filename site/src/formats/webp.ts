/** WebP files: chunks, quality, and metadata carried over (RFC 9649; RFC 6386 for the quantizer). */

import { joined, latin, startsWith, viewOf } from "./bytes";
import { withThumbnail } from "./exif";

const EXTENDED = "VP8X";
const FLAGS = { animation: 0x02, xmp: 0x04, exif: 0x08, alpha: 0x10, profile: 0x20 };
// Index of the quantizer -> quality, as in src/unhaze/photo/headers.py.
const QUALITIES: [number, number][] = [
  [0, 100], [6, 95], [12, 90], [20, 85], [27, 80], [36, 75], [39, 70], [45, 60], [52, 50], [68, 30], [92, 10], [127, 0],
];

export interface WebpFacts {
  profile: Uint8Array | null;
  exif: Uint8Array | null;
  xmp: Uint8Array | null;
  alpha: boolean;
  lossless: boolean;
  quality: number | null;
  animated: boolean;
}

interface Chunk {
  kind: string;
  data: Uint8Array;
}

export function isWebp(bytes: Uint8Array): boolean {
  return startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8);
}

export function factsOf(bytes: Uint8Array): WebpFacts {
  const chunks = [...chunksOf(bytes)];
  const of = (kind: string) => chunks.find((each) => each.kind === kind)?.data ?? null;
  const [lossy, lossless, extended] = [of("VP8 "), of("VP8L"), of(EXTENDED)];
  const exif = of("EXIF");
  return {
    profile: of("ICCP"),
    exif: exif && startsWith(exif, "Exif\0\0") ? exif.subarray(6) : exif,
    xmp: of("XMP "),
    alpha: Boolean(of("ALPH") || (lossless && (viewOf(lossless).getUint32(1, true) >>> 28) & 1)),
    lossless: Boolean(lossless),
    quality: lossy ? qualityOf(lossy) : null,
    animated: Boolean(extended && extended[0]! & FLAGS.animation),
  };
}

/** `encoded`, a new file without metadata, with those of `original`. */
export function withMetadata(
  encoded: Uint8Array, original: Uint8Array, size: { width: number; height: number }, thumbnail: Uint8Array | null,
): Uint8Array<ArrayBuffer> {
  const { profile, exif, xmp } = factsOf(original);
  if (!profile && !exif && !xmp) return encoded.slice();
  const pixels = [...chunksOf(encoded)].filter((each) => each.kind !== EXTENDED);
  const { alpha } = factsOf(encoded);
  const head = new Uint8Array(10);
  head[0] =
    (profile ? FLAGS.profile : 0) | (exif ? FLAGS.exif : 0) | (xmp ? FLAGS.xmp : 0) | (alpha ? FLAGS.alpha : 0);
  [size.width - 1, size.height - 1].forEach((side, i) => {
    head.set([side & 0xff, (side >> 8) & 0xff, (side >> 16) & 0xff], 4 + 3 * i);
  });
  const chunks: Chunk[] = [
    { kind: EXTENDED, data: head },
    ...(profile ? [{ kind: "ICCP", data: profile }] : []),
    ...pixels,
    ...(exif ? [{ kind: "EXIF", data: withThumbnail(exif, thumbnail) }] : []),
    ...(xmp ? [{ kind: "XMP ", data: xmp }] : []),
  ];
  const body = joined([latin("WEBP"), ...chunks.map(written)]);
  const start = new Uint8Array(8);
  start.set(latin("RIFF"));
  viewOf(start).setUint32(4, body.length, true);
  return joined([start, body]);
}

function written({ kind, data }: Chunk): Uint8Array {
  const whole = new Uint8Array(8 + data.length + (data.length % 2));
  whole.set(latin(kind));
  viewOf(whole).setUint32(4, data.length, true);
  whole.set(data, 8);
  return whole;
}

function* chunksOf(bytes: Uint8Array): Generator<Chunk> {
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    const kind = String.fromCharCode(...bytes.subarray(at, at + 4));
    yield { kind, data: bytes.subarray(at + 8, at + 8 + size) };
    at += 8 + size + (size % 2);
  }
}

/** 0 to 100, by the index of the quantizer as libwebp chooses it with its usual settings. */
function qualityOf(frame: Uint8Array): number {
  const index = quantizer(bits(frame.subarray(10)));
  const above = QUALITIES.findIndex(([each]) => each >= index);
  const [high, low] = [QUALITIES[Math.max(0, above)]!, QUALITIES[Math.max(0, above - 1)]!];
  const share = high[0] === low[0] ? 0 : (index - low[0]) / (high[0] - low[0]);
  return Math.round(low[1] + share * (high[1] - low[1]));
}

/** What a key frame's header says of it (RFC 6386, 9.3, 9.6 and 19.2). */
function quantizer(bit: Generator<number>): number {
  const number = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++) value = 2 * value + (bit.next().value as number);
    return value;
  };
  const skipOptional = (times: number, count: number) => {
    for (let i = 0; i < times; i++) if (number(1)) number(count);
  };
  number(2); // colour space, clamping
  if (number(1)) { // segments
    const mapComes = number(1);
    if (number(1)) {
      number(1);
      skipOptional(4, 8);
      skipOptional(4, 7);
    }
    if (mapComes) skipOptional(3, 8);
  }
  number(1 + 6 + 3); // filter
  if (number(1) && number(1)) skipOptional(8, 7);
  number(2); // partitions
  return number(7);
}

/** The bits of even odds that an arithmetic coder has packed (RFC 6386, 7.3). */
function* bits(data: Uint8Array): Generator<number> {
  let at = 2;
  let value = (data[0]! << 8) | data[1]!;
  let width = 255;
  for (let shifted = 0; ; ) {
    const split = 1 + ((width - 1) >> 1);
    const isSet = value >= split << 8;
    if (isSet) value -= split << 8;
    width = isSet ? width - split : split;
    while (width < 128) {
      value <<= 1;
      width <<= 1;
      if (++shifted === 8) {
        shifted = 0;
        value |= data[at++] ?? 0;
      }
    }
    yield Number(isSet);
  }
}
