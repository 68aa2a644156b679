/**
 * The analysis picture: what the network sees of a photo, as src/unhaze/restore/restorer.py makes it.
 *
 * Shrunk by means of whole cells, the rest by a Lanczos-3 kernel with steps of 1/64 pixel, as
 * libvips does.
 */

import { hiddenFilled } from "./hidden";
import type { FloatPicture, Picture } from "./field";

const STEPS = 64;
const LOBES = 3;

/** (height, width, bands) floats. */
interface Bands {
  width: number;
  height: number;
  bands: number;
  data: Float32Array;
}

/** The upright or stored picture in small, in [0, 1]; never enlarged. `white`: its white sample. */
export function analysisPicture(picture: Picture, longSide: number, white?: number): FloatPicture {
  const full = picture.data.BYTES_PER_ELEMENT === 2 ? 65535 : 255;
  const { width, height } = picture;
  const scale = Math.min(1, longSide / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, roundEven(side * scale))) as [number, number];
  const cell = Math.max(1, Math.floor(1 / scale));
  const visible = isOpaque(picture.data, full);
  const cells = cellMeans(picture, cell, full, !visible);
  const small = lanczos(lanczosRows(cells, size[1]), size[0]);
  const data = visible ? small.data : weighted(small);
  const top = (white ?? full) / full;
  for (let i = 0; i < data.length; i++) data[i] = Math.min(1, Math.max(0, data[i]! / top));
  if (visible) return { width: size[0], height: size[1], data };
  const alpha = Float32Array.from({ length: size[0] * size[1] }, (_, i) => small.data[4 * i + 3]!);
  return hiddenFilled({ width: size[0], height: size[1], data }, alpha);
}

/** As Python rounds: halves to the even number. */
export function roundEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** Whether alpha hides nothing. */
export function isOpaque(data: Picture["data"], full: number): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== full) return false;
  return true;
}

/** Means of cell x cell pixels in [0, 1]; with alpha, colours times alpha and alpha itself. */
function cellMeans(picture: Picture, cell: number, full: number, alpha: boolean): Bands {
  const { data } = picture;
  const size = [picture.width, picture.height].map((side) => Math.floor(side / Math.min(cell, side) + 0.5));
  const [width, height] = size as [number, number];
  const bands = alpha ? 4 : 3;
  const means = new Float32Array(width * height * bands);
  const across = Math.min(cell, picture.width);
  const down = Math.min(cell, picture.height);
  const sums = new Float64Array(width * bands);
  for (let row = 0; row < height; row++) {
    sums.fill(0);
    for (let step = 0; step < down; step++) {
      const start = 4 * picture.width * Math.min(row * down + step, picture.height - 1);
      for (let i = 0, column = 0; i < width; i++) {
        for (let each = 0; each < across; each++, column++) {
          const at = start + 4 * Math.min(column, picture.width - 1);
          const weight = alpha ? data[at + 3]! / full : 1;
          sums[bands * i]! += data[at]! * weight;
          sums[bands * i + 1]! += data[at + 1]! * weight;
          sums[bands * i + 2]! += data[at + 2]! * weight;
          if (alpha) sums[bands * i + 3]! += data[at + 3]!;
        }
      }
    }
    const start = row * width * bands;
    for (let i = 0; i < sums.length; i++) means[start + i] = sums[i]! / (across * down * full);
  }
  return { width, height, bands, data: means };
}

/** Colours of what is visible, from colours times alpha, and alpha. */
function weighted(small: Bands): Float32Array {
  const data = new Float32Array((small.data.length / 4) * 3);
  for (let i = 0, at = 0; i < small.data.length; i += 4) {
    const share = Math.max(Math.min(1, small.data[i + 3]!), 1 / 65535);
    for (let channel = 0; channel < 3; channel++, at++) {
      data[at] = Math.min(1, Math.max(0, small.data[i + channel]!)) / share;
    }
  }
  return data;
}

interface Kernel {
  start: Int32Array;
  weights: Float64Array[];
}

/** For each of `to` pixels: the first of `from` pixels that counts, and the weights. */
function kernel(from: number, to: number): Kernel {
  const shrink = from / to;
  const points = 2 * Math.round(LOBES * shrink) + 1;
  const start = new Int32Array(to);
  const table = new Map<number, Float64Array>();
  const weights: Float64Array[] = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * shrink;
    const whole = Math.floor(centre);
    const step = (Math.floor((centre - whole) * STEPS * 2) + 1) >> 1;
    start[i] = whole - (points - 1) / 2;
    let mask = table.get(step);
    if (!mask) table.set(step, (mask = lanczosMask(points, shrink, step / STEPS)));
    weights.push(mask);
  }
  return { start, weights };
}

function lanczosMask(points: number, shrink: number, offset: number): Float64Array {
  const half = offset + points / 2 - 1;
  const mask = Float64Array.from({ length: points }, (_, i) => {
    const distance = Math.abs((i - half) / shrink);
    if (distance > LOBES) return 0;
    return sinc(distance) * sinc(distance / LOBES);
  });
  const sum = mask.reduce((total, each) => total + each, 0);
  return mask.map((each) => each / sum);
}

function sinc(value: number): number {
  return value === 0 ? 1 : Math.sin(Math.PI * value) / (Math.PI * value);
}

function lanczosRows(picture: Bands, height: number): Bands {
  if (height === picture.height) return picture;
  const { start, weights } = kernel(picture.height, height);
  const line = picture.width * picture.bands;
  const data = new Float32Array(line * height);
  for (let row = 0; row < height; row++) {
    const mask = weights[row]!;
    const sums = new Float64Array(line);
    for (let k = 0; k < mask.length; k++) {
      const source = Math.min(Math.max(start[row]! + k, 0), picture.height - 1) * line;
      for (let i = 0; i < line; i++) sums[i]! += mask[k]! * picture.data[source + i]!;
    }
    data.set(sums, row * line);
  }
  return { ...picture, height, data };
}

function lanczos(picture: Bands, width: number): Bands {
  if (width === picture.width) return picture;
  const { start, weights } = kernel(picture.width, width);
  const { bands, height } = picture;
  const data = new Float32Array(width * height * bands);
  for (let column = 0; column < width; column++) {
    const mask = weights[column]!;
    for (let row = 0; row < height; row++) {
      const line = row * picture.width;
      for (let band = 0; band < bands; band++) {
        let sum = 0;
        for (let k = 0; k < mask.length; k++) {
          const source = Math.min(Math.max(start[column]! + k, 0), picture.width - 1);
          sum += mask[k]! * picture.data[(line + source) * bands + band]!;
        }
        data[(row * width + column) * bands + band] = sum;
      }
    }
  }
  return { ...picture, width, data };
}
