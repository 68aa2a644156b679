/**
 * A baseline JPEG encoder (ITU-T T.81) with the tables and the scaling of libjpeg, in any chroma.
 *
 * Canvases only write 4:2:0, and mozjpeg's trellis drops detail (35 dB where libjpeg has 37 at quality 75);
 * this one comes out as libvips writes a file, to 55 dB and better.
 */

import type { Picture } from "../restore/field";
import { joined, latin } from "./bytes";

export interface JpegSettings {
  /** 1 to 100, as libjpeg counts it. */
  quality: number;
  grey: boolean;
  /** Colours at full size (4:4:4), else at half (4:2:0). */
  fullChroma: boolean;
}

// Annex K.1, in zigzag order: luminance, chrominance.
const QUANTIZERS = [
  [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
    26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
    56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
  ],
  [17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, ...new Array<number>(51).fill(99)],
] as const;

// Annex K.3: DC and AC for luminance, then for chrominance. Numbers of codes by length, then values.
const HUFFMAN = [
  {
    id: 0x00, counts: "00010501010101010100000000000000",
    values:
    "000102030405060708090a0b",
  },
  {
    id: 0x10, counts: "0002010303020403050504040000017d",
    values:
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728" +
    "292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83848586878889" +
    "8a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2" +
    "e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa",
  },
  {
    id: 0x01, counts: "00030101010101010101010000000000",
    values:
    "000102030405060708090a0b",
  },
  {
    id: 0x11, counts: "00020102040403040705040400010277",
    values:
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a26" +
    "2728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a828384858687" +
    "88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da" +
    "e2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa",
  },
];

const ZIGZAG = zigzag();
// Factors by which the fast transform of Arai, Agui and Nakajima leaves its results too large.
const AAN = [1, 1.387039845, 1.306562965, 1.175875602, 1, 0.785694958, 0.541196100, 0.275899379];

export function encodeJpeg(picture: Picture, settings: JpegSettings): Uint8Array<ArrayBuffer> {
  const { width, height } = picture;
  const { grey, fullChroma } = settings;
  const tables = QUANTIZERS.map((table) => table.map((each) => scaled(each, settings.quality)));
  const factors = tables.map(dividers);
  const codes = HUFFMAN.map(({ counts, values }) => codesOf(bytesOf(counts), bytesOf(values)));
  const out = new Bits(Math.max(1 << 16, (width * height) >> 1));
  const side = grey || fullChroma ? 8 : 16;
  const across = Math.ceil(width / side);
  const planes = [0, 1, 2].slice(0, grey ? 1 : 3).map(() => new Float32Array(across * side * side));
  const small = [0, 1].map(() => new Float32Array(across * 8 * 8));
  const block = new Float32Array(64);
  const last = [0, 0, 0];
  const put = (plane: Float32Array, stride: number, left: number, top: number, component: number) => {
    for (let row = 0; row < 8; row++) {
      const from = (top + row) * stride + left;
      for (let i = 0; i < 8; i++) block[8 * row + i] = plane[from + i]! - 128;
    }
    const kind = component ? 1 : 0;
    transform(block);
    last[component] = out.block(block, factors[kind]!, last[component]!, codes[2 * kind]!, codes[2 * kind + 1]!);
  };
  for (let top = 0; top < height; top += side) {
    convert(picture, top, side, across * side, planes);
    if (side === 16 && !grey) small.forEach((plane, i) => halve(planes[i + 1]!, plane, across * 16));
    for (let i = 0; i < across; i++) {
      if (side === 8) planes.forEach((plane, component) => put(plane, across * 8, 8 * i, 0, component));
      else {
        for (const [row, column] of [[0, 0], [0, 8], [8, 0], [8, 8]]) put(planes[0]!, across * 16, 16 * i + column!, row!, 0);
        small.forEach((plane, component) => put(plane, across * 8, 8 * i, 0, component + 1));
      }
    }
  }
  return joined([head(width, height, settings, tables), out.finished(), Uint8Array.of(0xff, 0xd9)]);
}

function head(width: number, height: number, { grey, fullChroma }: JpegSettings, tables: number[][]): Uint8Array {
  const kinds = grey ? [0] : [0, 1];
  const sampling = fullChroma || grey ? 0x11 : 0x22;
  const components = grey ? [[1, 0x11, 0]] : [[1, sampling, 0], [2, 0x11, 1], [3, 0x11, 1]];
  const size = [height >> 8, height & 255, width >> 8, width & 255];
  const huffman = HUFFMAN.slice(0, 2 * kinds.length).map(({ id, counts, values }) =>
    segment(0xc4, [id, ...bytesOf(counts), ...bytesOf(values)]),
  );
  return joined([
    Uint8Array.of(0xff, 0xd8),
    segment(0xe0, [...latin("JFIF\0"), 1, 1, 0, 0, 1, 0, 1, 0, 0]),
    ...kinds.map((kind) => segment(0xdb, [kind, ...tables[kind]!])),
    segment(0xc0, [8, ...size, components.length, ...components.flat()]),
    ...huffman,
    segment(0xda, [components.length, ...components.flatMap(([id, , kind]) => [id!, kind! * 0x11]), 0, 63, 0]),
  ]);
}

function segment(marker: number, data: number[]): Uint8Array {
  return Uint8Array.of(0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 255, ...data);
}

function scaled(value: number, quality: number): number {
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  return Math.min(255, Math.max(1, Math.floor((value * percent + 50) / 100)));
}

/** 1 / (quantizer * what the transform is too large by), in the order of the rows. */
function dividers(table: number[]): Float32Array {
  const factors = new Float32Array(64);
  table.forEach((each, i) => {
    const at = ZIGZAG[i]!;
    factors[at] = 1 / (each * AAN[at >> 3]! * AAN[at & 7]! * 8);
  });
  return factors;
}

/** `side` rows as Y, Cb and Cr (JFIF), the last row and column repeated to fill blocks. */
function convert(picture: Picture, top: number, side: number, stride: number, planes: Float32Array[]): void {
  const { width, height, data } = picture;
  const [luma, blue, red] = planes;
  for (let row = 0; row < side; row++) {
    let from = 4 * width * Math.min(top + row, height - 1);
    let at = row * stride;
    for (let i = 0; i < stride; i++, at++) {
      const [r, g, b] = [data[from]!, data[from + 1]!, data[from + 2]!];
      luma![at] = blue ? Math.floor(0.299 * r + 0.587 * g + 0.114 * b + 0.5) : r;
      if (blue) {
        blue[at] = Math.floor(128.49999 - 0.168735892 * r - 0.331264108 * g + 0.5 * b);
        red![at] = Math.floor(128.49999 + 0.5 * r - 0.418687589 * g - 0.081312411 * b);
      }
      if (i < width - 1) from += 4;
    }
  }
}

/** Means of 2 x 2 of 16 rows; halves are rounded down and up in turn, as libjpeg does. */
function halve(plane: Float32Array, small: Float32Array, stride: number): void {
  const width = stride / 2;
  for (let row = 0; row < 8; row++) {
    const from = 2 * row * stride;
    for (let i = 0; i < width; i++) {
      const at = from + 2 * i;
      const sum = plane[at]! + plane[at + 1]! + plane[at + stride]! + plane[at + stride + 1]!;
      small[row * width + i] = (sum + 1 + (i & 1)) >> 2;
    }
  }
}

/** The cosine transform of 8 x 8 values in place, too large by AAN (Arai, Agui and Nakajima, 1988). */
function transform(block: Float32Array): void {
  for (let row = 0; row < 64; row += 8) line(block, row, 1);
  for (let column = 0; column < 8; column++) line(block, column, 8);
}

function line(block: Float32Array, at: number, step: number): void {
  const [i1, i2, i3, i4] = [at + step, at + 2 * step, at + 3 * step, at + 4 * step];
  const [i5, i6, i7] = [at + 5 * step, at + 6 * step, at + 7 * step];
  const [s07, d07] = [block[at]! + block[i7]!, block[at]! - block[i7]!];
  const [s16, d16] = [block[i1]! + block[i6]!, block[i1]! - block[i6]!];
  const [s25, d25] = [block[i2]! + block[i5]!, block[i2]! - block[i5]!];
  const [s34, d34] = [block[i3]! + block[i4]!, block[i3]! - block[i4]!];
  const [outer, inner] = [s07 + s34, s16 + s25];
  const even = (s16 - s25 + s07 - s34) * 0.707106781;
  block[at] = outer + inner;
  block[i4] = outer - inner;
  block[i2] = s07 - s34 + even;
  block[i6] = s07 - s34 - even;
  const [first, middle, final] = [d34 + d25, d25 + d16, d16 + d07];
  const turned = (first - final) * 0.382683433;
  const low = 0.541196100 * first + turned;
  const high = 1.306562965 * final + turned;
  const centre = middle * 0.707106781;
  block[i5] = d07 - centre + low;
  block[i3] = d07 - centre - low;
  block[i1] = d07 + centre + high;
  block[i7] = d07 + centre - high;
}

interface Codes {
  code: Uint16Array;
  length: Uint8Array;
}

/** Bits, with a zero byte behind each 255. */
class Bits {
  private bytes: Uint8Array;
  private at = 0;
  private held = 0;
  private count = 0;
  private values = new Int32Array(64);

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  /** Quantizes and codes a block; returns its mean, which the next one is coded against. */
  block(block: Float32Array, factors: Float32Array, last: number, dc: Codes, ac: Codes): number {
    const { values } = this;
    let end = 0;
    for (let i = 0; i < 64; i++) {
      const at = ZIGZAG[i]!;
      const value = block[at]! * factors[at]!;
      values[i] = value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5);
      if (values[i] !== 0) end = i;
    }
    this.number(values[0]! - last, 0, dc);
    let zeros = 0;
    for (let i = 1; i <= end; i++) {
      if (values[i] === 0) {
        zeros++;
        continue;
      }
      for (; zeros > 15; zeros -= 16) this.put(ac.code[0xf0]!, ac.length[0xf0]!);
      this.number(values[i]!, zeros, ac);
      zeros = 0;
    }
    if (end < 63) this.put(ac.code[0]!, ac.length[0]!);
    return values[0]!;
  }

  finished(): Uint8Array {
    this.put(0x7f, 7);
    return this.bytes.subarray(0, this.at);
  }

  private number(value: number, zeros: number, codes: Codes): void {
    const size = 32 - Math.clz32(Math.abs(value));
    const symbol = (zeros << 4) | size;
    this.put(codes.code[symbol]!, codes.length[symbol]!);
    if (size) this.put((value < 0 ? value - 1 : value) & ((1 << size) - 1), size);
  }

  private put(bits: number, length: number): void {
    this.held = (this.held << length) | bits;
    this.count += length;
    while (this.count >= 8) {
      this.count -= 8;
      const byte = (this.held >>> this.count) & 255;
      if (this.at + 2 > this.bytes.length) this.grow();
      this.bytes[this.at++] = byte;
      if (byte === 255) this.bytes[this.at++] = 0;
    }
    this.held &= (1 << this.count) - 1;
  }

  private grow(): void {
    const larger = new Uint8Array(2 * this.bytes.length);
    larger.set(this.bytes);
    this.bytes = larger;
  }
}

function codesOf(counts: Uint8Array, values: Uint8Array): Codes {
  const codes = { code: new Uint16Array(256), length: new Uint8Array(256) };
  let code = 0;
  let at = 0;
  counts.forEach((count, i) => {
    for (let n = 0; n < count; n++, code++) {
      codes.code[values[at]!] = code;
      codes.length[values[at++]!] = i + 1;
    }
    code <<= 1;
  });
  return codes;
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g)!, (each) => parseInt(each, 16));
}

function zigzag(): Uint8Array {
  const places = Array.from({ length: 64 }, (_, i) => i);
  const key = (at: number) => {
    const diagonal = (at >> 3) + (at & 7);
    return 64 * diagonal + (diagonal % 2 ? at >> 3 : at & 7);
  };
  return Uint8Array.from(places.sort((one, other) => key(one) - key(other)));
}
