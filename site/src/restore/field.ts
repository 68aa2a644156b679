/**
 * The local affine field: what a network did to a small picture, applied to the full-size one.
 *
 * The same mathematics as src/unhaze/restore/field.py, whose golden fields tests/golden holds.
 */

export const RADIUS = 2;
export const EPSILON = 1e-4;
export const LUMA = [0.2126, 0.7152, 0.0722] as const;

/** `gains`, `offsets`: (height, width, 3) so that restored = gain * hazy + offset, hazy in [0, 1]. */
export interface Field {
  width: number;
  height: number;
  gains: Float32Array;
  offsets: Float32Array;
}

/** (height, width, 3) in [0, 1] unless said otherwise. */
export interface FloatPicture {
  width: number;
  height: number;
  data: Float32Array;
}

/** (height, width, 4): red, green, blue, alpha, 8 or 16 bits a sample. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray | Uint8Array | Uint16Array;
}

/** The field of a hazy picture and the restored one, which is not bounded. `grey`: by luma. */
export function fitField(hazy: FloatPicture, restored: FloatPicture, grey = false): Field {
  const { width, height } = hazy;
  const wide = width + 2 * RADIUS;
  const high = height + 2 * RADIUS;
  const channels = [0, 1, 2].map((channel) => statistics(hazy, restored, channel));
  const gains = new Float32Array(3 * wide * high);
  const offsets = new Float32Array(3 * wide * high);
  for (let i = 0; i < wide * high; i++) {
    let covariance = EPSILON;
    let variance = EPSILON;
    for (const each of channels) {
      covariance += each.covariance[i]!;
      variance += each.variance[i]!;
    }
    // The ridge draws each gain towards that of all channels together, and that towards 1.
    const pull = EPSILON * (covariance / variance);
    for (let channel = 0; channel < 3; channel++) {
      const each = channels[channel]!;
      const gain = (each.covariance[i]! + pull) / (each.variance[i]! + EPSILON);
      gains[3 * i + channel] = gain;
      offsets[3 * i + channel] = each.restored[i]! - gain * each.hazy[i]!;
    }
  }
  const field = {
    width,
    height,
    gains: windowMean(gains, wide, high, 3),
    offsets: windowMean(offsets, wide, high, 3),
  };
  if (grey) for (const map of [field.gains, field.offsets]) averageByLuma(map);
  return field;
}

/** The field blended with the identity map: 0 changes nothing, 1 clears fully. */
export function blendField(field: Field, strength: number): Field {
  const { width, height } = field;
  return {
    width,
    height,
    gains: field.gains.map((gain) => 1 + strength * (gain - 1)),
    offsets: field.offsets.map((offset) => strength * offset),
  };
}

/**
 * The restored picture, of the type of `picture`; alpha stays. `white`: the sample that is white.
 *
 * The maps are interpolated bilinearly: along the rows once for all pixels between two map rows,
 * then down the columns.
 */
export function applyField(field: Field, picture: Picture, strength = 1, white?: number): Picture {
  const { width, height, data } = picture;
  const full = data.BYTES_PER_ELEMENT === 2 ? 65535 : 255;
  const top = white ?? full;
  const restored = data.slice();
  if (strength === 0) return { width, height, data: restored };
  const blended = blendField(field, strength);
  const rows = lerp(field.height, height);
  const columns = lerp(field.width, width);
  let upper = widen(blended, -1, columns, top);
  let lower = widen(blended, -1, columns, top);
  const bound = top + 0.5;
  for (let row = 0, current = -2; row < height; row++) {
    const above = rows.before[row]!;
    if (above !== current) {
      [upper, lower] = [lower, upper];
      if (above !== current + 1) upper = widen(blended, above, columns, top, upper);
      lower = widen(blended, rows.after[row]!, columns, top, lower);
      current = above;
    }
    const share = rows.share[row]!;
    const { gains: gainsAbove, offsets: offsetsAbove } = upper;
    const { gains: gainsBelow, offsets: offsetsBelow } = lower;
    let at = 4 * width * row;
    for (let i = 0; i < 3 * width; i += 3, at += 4) {
      for (let channel = 0; channel < 3; channel++) {
        const j = i + channel;
        const gain = gainsAbove[j]! + share * (gainsBelow[j]! - gainsAbove[j]!);
        const offset = offsetsAbove[j]! + share * (offsetsBelow[j]! - offsetsAbove[j]!);
        const value = data[at + channel]! * gain + offset;
        restored[at + channel] = value <= 0 ? 0 : Math.floor(value < bound ? value : bound);
      }
    }
  }
  return { width, height, data: restored };
}

/** The field applied at its own size: sRGB floats in, floats in [0, 1] out. */
export function applySmall(field: Field, hazy: FloatPicture): FloatPicture {
  const data = hazy.data.map((value, i) =>
    Math.min(1, Math.max(0, value * field.gains[i]! + field.offsets[i]!)),
  );
  return { width: hazy.width, height: hazy.height, data };
}

interface Statistics {
  hazy: Float32Array;
  restored: Float32Array;
  variance: Float32Array;
  covariance: Float32Array;
}

/** Means, variance and covariance of one channel in the windows around (height+4, width+4) pixels. */
function statistics(hazy: FloatPicture, restored: FloatPicture, channel: number): Statistics {
  const { width, height } = hazy;
  const margin = 2 * RADIUS;
  const padded = width + 2 * margin;
  const columns = mirrored(width, margin).map((column) => 3 * column + channel);
  const rows = mirrored(height, margin).map((row) => 3 * width * row);
  const size = 2 * RADIUS + 1;
  const wide = width + 2 * RADIUS;
  const high = height + 2 * RADIUS;
  const found: Statistics = {
    hazy: new Float32Array(wide * high),
    restored: new Float32Array(wide * high),
    variance: new Float32Array(wide * high),
    covariance: new Float32Array(wide * high),
  };
  const line = () => new Float64Array(padded);
  const sums = [line(), line(), line(), line()] as const;
  for (let row = 0; row < high; row++) {
    for (const sum of sums) sum.fill(0);
    for (let step = 0; step < size; step++) {
      const start = rows[row + step]!;
      for (let i = 0; i < padded; i++) {
        const before = hazy.data[start + columns[i]!]!;
        const after = restored.data[start + columns[i]!]!;
        sums[0][i]! += before;
        sums[1][i]! += after;
        sums[2][i]! += before * before;
        sums[3][i]! += before * after;
      }
    }
    for (let i = 0, at = row * wide; i < wide; i++, at++) {
      const before = windowOf(sums[0], i);
      const after = windowOf(sums[1], i);
      const squares = windowOf(sums[2], i);
      const products = windowOf(sums[3], i);
      found.hazy[at] = before;
      found.restored[at] = after;
      found.variance[at] = squares - before * before;
      found.covariance[at] = products - before * after;
    }
  }
  return found;
}

function windowOf(sums: Float64Array, i: number): number {
  return (sums[i]! + sums[i + 1]! + sums[i + 2]! + sums[i + 3]! + sums[i + 4]!) / 25;
}

/** Means over 5 x 5 windows that lie wholly inside: width and height lose 4. */
function windowMean(values: Float32Array, wide: number, high: number, bands: number): Float32Array {
  const size = 2 * RADIUS + 1;
  const width = wide - 2 * RADIUS;
  const height = high - 2 * RADIUS;
  const means = new Float32Array(width * height * bands);
  const sums = new Float64Array(wide * bands);
  for (let row = 0; row < height; row++) {
    sums.fill(0);
    for (let step = 0; step < size; step++) {
      const start = (row + step) * wide * bands;
      for (let i = 0; i < sums.length; i++) sums[i]! += values[start + i]!;
    }
    for (let i = 0, at = row * width * bands; i < width * bands; i++, at++) {
      let sum = 0;
      for (let step = 0; step < size; step++) sum += sums[i + step * bands]!;
      means[at] = sum / (size * size);
    }
  }
  return means;
}

/** Indices of `size` pixels with `margin` more on both sides, mirrored with the edge repeated. */
export function mirrored(size: number, margin: number): Int32Array {
  return Int32Array.from({ length: size + 2 * margin }, (_, i) => {
    const inside = (((i - margin) % (2 * size)) + 2 * size) % (2 * size);
    return inside < size ? inside : 2 * size - 1 - inside;
  });
}

function averageByLuma(map: Float32Array): void {
  for (let i = 0; i < map.length; i += 3) {
    const mean = LUMA[0] * map[i]! + LUMA[1] * map[i + 1]! + LUMA[2] * map[i + 2]!;
    map.fill(mean, i, i + 3);
  }
}

interface Lerp {
  before: Int32Array;
  after: Int32Array;
  share: Float32Array;
}

/** For each of `size` pixels over `count` map pixels: the one before, the one after, a share. */
function lerp(count: number, size: number): Lerp {
  const before = new Int32Array(size);
  const after = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const centre = Math.min(Math.max((i + 0.5) * (count / size) - 0.5, 0), count - 1);
    before[i] = Math.floor(centre);
    after[i] = Math.min(before[i]! + 1, count - 1);
    share[i] = centre - before[i]!;
  }
  return { before, after, share };
}

interface Line {
  gains: Float32Array;
  offsets: Float32Array;
}

/** A map row at the width of the picture, offsets in samples with the half that rounds. */
function widen(field: Field, row: number, columns: Lerp, top: number, line?: Line): Line {
  const width = columns.before.length;
  const wide = line ?? { gains: new Float32Array(3 * width), offsets: new Float32Array(3 * width) };
  if (row < 0) return wide;
  const start = 3 * field.width * row;
  for (let i = 0, at = 0; i < width; i++) {
    const left = start + 3 * columns.before[i]!;
    const right = start + 3 * columns.after[i]!;
    const share = columns.share[i]!;
    for (let channel = 0; channel < 3; channel++, at++) {
      const gain = field.gains[left + channel]!;
      const offset = field.offsets[left + channel]!;
      wide.gains[at] = gain + share * (field.gains[right + channel]! - gain);
      wide.offsets[at] = top * (offset + share * (field.offsets[right + channel]! - offset)) + 0.5;
    }
  }
  return wide;
}
