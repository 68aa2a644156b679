/**
 * Protects skies, lifts shadows and balances white, in the small restored picture, before the field is
 * fitted, and tells whether it has a cast that the last would remove: the same as
 * src/unhaze/restore/controlling.py.
 */

import { roundEven } from "./analysis";
import { LUMA, type FloatPicture } from "./field";
import { guidedFilter } from "./windows";

/** Each from 0, as the model has it, to 1. */
export interface Controls {
  protect_sky: number;
  lift_shadows: number;
  white_balance: number;
}

export const AS_MODEL: Controls = { protect_sky: 0, lift_shadows: 0, white_balance: 0 };
export const CONTROLS = Object.keys(AS_MODEL) as (keyof Controls)[];

/** What a person chose. `white_balance`: null until then, which takes the cast of dust and smoke away. */
export interface Wishes extends Omit<Controls, "white_balance"> {
  white_balance: number | null;
}

export const NO_WISHES: Wishes = { ...AS_MODEL, white_balance: null };

export function isAlike(one: Wishes, other: Wishes): boolean {
  return CONTROLS.every((name) => one[name] === other[name]);
}

const GRID = 128; // cells along the longer side, in which the sky is looked for
const SKY = [0.08, 0.2] as const; // unlikeness (luma) up to which a place is sky, and from which on it is none
const BRIGHT = 0.8; // share of the brightest cells' luma that the sky has
const SOFT = 1e-3; // variance of luma above which an edge of the picture is one of the sky
const DARK = 0.4; // luma below which it is shadow
export const LIFT = 2; // how much is added to a gain of 1
const [AROUND, EVEN] = [0.02, 0.01] as const; // radius (share of the longer side), variance of one shadow
const FURTHEST = 2; // gain of a channel
const WHITE = 0.97; // least channel from which on a place is white
const BLOCKS = 10; // along the longer side, each with a shadow whose colour is that of the haze
const SURE = 0.31; // luma of these shadows from which on no warm room behind light haze has them
const DUSTY = [1.06, 1.3] as const; // red over green and over blue from which on haze is dust or smoke
const COLOURED = 1.15; // red over blue of a cast that is seen

/** What the controls go by: (height, width) in [0, 1], and the colour of the light. */
export interface Places {
  width: number;
  height: number;
  sky: Float32Array;
  shade: Float32Array;
  cast: number[];
}

/** Of an upright picture in sRGB and what the model made of it, where no control is set. */
export function placesOf(hazy: FloatPicture, restored: FloatPicture): Places {
  const { width, height } = hazy;
  return { width, height, sky: skyOf(hazy), shade: shadeOf(restored), cast: castOf(restored) };
}

/** The restored picture, upright and in sRGB as the hazy one, not bounded, as `controls` want it. */
export function controlled(hazy: FloatPicture, restored: FloatPicture, controls: Controls): FloatPicture {
  const { width, height } = hazy;
  const done = { width, height, data: restored.data.slice() };
  const { data } = done;
  if (controls.white_balance) {
    const gains = balanceOf(castOf(restored), controls);
    for (let i = 0; i < data.length; i += 3) for (let channel = 0; channel < 3; channel++) data[i + channel]! *= gains[channel]!;
  }
  if (controls.lift_shadows) {
    const shade = shadeOf(done);
    for (let i = 0, at = 0; i < shade.length; i++) {
      const gain = 1 + controls.lift_shadows * LIFT * shade[i]! * shade[i]!;
      for (let channel = 0; channel < 3; channel++) data[at++]! *= gain;
    }
  }
  if (controls.protect_sky) {
    const sky = skyOf(hazy);
    for (let i = 0, at = 0; i < sky.length; i++) {
      const share = controls.protect_sky * sky[i]!;
      for (let channel = 0; channel < 3; channel++, at++) data[at]! += share * (hazy.data[at]! - data[at]!);
    }
  }
  return done;
}

/** Gains of red, green and blue that take the cast away. */
export function balanceOf(cast: number[], controls: Controls): number[] {
  return cast.map((each) => each ** -controls.white_balance);
}

/** How much of an edge lies on the way up, straight or aslant, to the picture's bright top: none is 1. */
function skyOf({ width, height, data }: FloatPicture): Float32Array {
  const luma = lumaOf(data);
  const side = Math.max(1, roundEven(Math.max(width, height) / GRID));
  const [across, down] = [Math.ceil(width / side), Math.ceil(height / side)];
  const { means, details } = cellsOf(luma, width, height, side, across, down);
  const calm = Math.min(...details.subarray(0, across));
  const bright = BRIGHT * percentile(means, 0.95);
  const unlike = new Float64Array(across * down);
  for (let row = 0, at = 0; row < down; row++) {
    for (let column = 0; column < across; column++, at++) {
      if (row === 0) {
        unlike[at] = Math.max(0, bright - means[at]!) + details[at]!;
        continue;
      }
      let least = Infinity;
      for (const step of [-1, 0, 1]) {
        const above = (row - 1) * across + Math.min(Math.max(column + step, 0), across - 1);
        least = Math.min(least, unlike[above]! + Math.abs(means[at]! - means[above]!));
      }
      unlike[at] = least + Math.max(0, details[at]! - calm - 0.01);
    }
  }
  const likely = new Float32Array(luma.length);
  for (let row = 0, at = 0; row < height; row++) {
    const cells = Math.floor(row / side) * across;
    for (let column = 0; column < width; column++, at++) {
      likely[at] = bounded((SKY[1] - unlike[cells + Math.floor(column / side)]!) / (SKY[1] - SKY[0]));
    }
  }
  return guidedFilter(luma, likely, width, height, 2 * side, SOFT).map(bounded);
}

/** Mean and standard deviation of luma in cells of side x side pixels; the picture's edge goes on. */
function cellsOf(luma: Float32Array, width: number, height: number, side: number, across: number, down: number) {
  const sums = new Float64Array(across * down);
  const squares = new Float64Array(across * down);
  for (let row = 0; row < down * side; row++) {
    const line = Math.min(row, height - 1) * width;
    for (let column = 0; column < across * side; column++) {
      const value = luma[line + Math.min(column, width - 1)]!;
      const cell = Math.floor(row / side) * across + Math.floor(column / side);
      sums[cell]! += value;
      squares[cell]! += value * value;
    }
  }
  const means = sums.map((sum) => sum / side ** 2);
  const details = squares.map((sum, i) => Math.sqrt(Math.max(0, sum / side ** 2 - means[i]! ** 2)));
  return { means, details };
}

/** 1 where what is around, up to edges, is black, 0 from DARK on. */
function shadeOf({ width, height, data }: FloatPicture): Float32Array {
  const luma = lumaOf(data).map(bounded);
  const radius = Math.max(2, roundEven(AROUND * Math.max(width, height)));
  return guidedFilter(luma, luma, width, height, radius, EVEN).map((each) => 1 - bounded(each / DARK));
}

/** The colour of the light by "shades of grey", of a luma of 1, within FURTHEST. White frames and blown places have none. */
function castOf({ data }: FloatPicture): number[] {
  let count = 0;
  const powers = [0, 0, 0];
  const sums = [0, 0, 0];
  for (let at = 0; at < data.length; at += 3) {
    if (Math.min(data[at]!, data[at + 1]!, data[at + 2]!) >= WHITE) continue;
    for (let channel = 0; channel < 3; channel++) {
      const value = bounded(data[at + channel]!);
      const square = value * value;
      powers[channel]! += square * square * square;
      sums[channel]! += value;
    }
    count++;
  }
  if (count === 0) return [1, 1, 1];
  // The Minkowski norm of 6 of "shades of grey" (Finlayson and Trezzi, CIC 2004).
  const norms = powers.map((each) => Math.max((each / count) ** (1 / 6), 1e-3));
  const middle = (norms[0]! + norms[1]! + norms[2]!) / 3;
  const cast = norms.map((each) => Math.min(Math.max(each / middle, 1 / FURTHEST), FURTHEST));
  const means = sums.map((each, i) => (each / count) * LUMA[i]!);
  // The picture stays as light as it is.
  const light = means.reduce((sum, each, i) => sum + each / cast[i]!, 0) / Math.max(means[0]! + means[1]! + means[2]!, 1e-6);
  return cast.map((each) => each * (light || 1));
}

/**
 * Whether the haze surely has the colour of dust or smoke, and what the model made of it a cast of that
 * colour; both in sRGB.
 */
export function keepsCast(hazy: FloatPicture, restored: FloatPicture): boolean {
  const { width, height, data } = darkest(hazy);
  const veil = [0, 0, 0];
  for (let i = 0; i < data.length; i++) veil[i % 3]! += data[i]! / (width * height);
  const [red, green, blue] = veil as [number, number, number];
  const luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
  if (luma < SURE || red < DUSTY[0] * green || red < DUSTY[1] * blue) return false;
  const cast = castOf(restored);
  return cast[0]! > COLOURED * cast[2]!;
}

/** The least value of each channel in blocks, of cells of GRID, which average noise. */
export function darkest(hazy: FloatPicture): FloatPicture {
  return pooled(pooled(hazy, GRID, true), BLOCKS, false);
}

/** The mean, or the least, of each channel in squares, so many along the longer side; what is left over is left out. */
function pooled({ width, height, data }: FloatPicture, parts: number, isMean: boolean): FloatPicture {
  const side = Math.max(1, roundEven(Math.max(width, height) / parts));
  const [across, down] = [Math.min(side, width), Math.min(side, height)];
  const [columns, rows] = [Math.floor(width / across), Math.floor(height / down)];
  const result = new Float32Array(3 * columns * rows).fill(isMean ? 0 : Infinity);
  for (let row = 0; row < rows * down; row++) {
    const square = Math.floor(row / down) * columns;
    for (let column = 0, from = 3 * row * width; column < columns * across; column++) {
      const at = 3 * (square + Math.floor(column / across));
      for (let channel = at; channel < at + 3; channel++, from++) {
        const value = data[from]!;
        result[channel] = isMean ? result[channel]! + value / (across * down) : Math.min(result[channel]!, value);
      }
    }
  }
  return { width: columns, height: rows, data: result };
}

function lumaOf(data: Float32Array): Float32Array {
  const luma = new Float32Array(data.length / 3);
  for (let i = 0; i < luma.length; i++) {
    luma[i] = LUMA[0] * data[3 * i]! + LUMA[1] * data[3 * i + 1]! + LUMA[2] * data[3 * i + 2]!;
  }
  return luma;
}

/** Interpolated between the two values that are nearest. */
function percentile(values: Float64Array, share: number): number {
  const sorted = values.slice().sort();
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  return below + (place % 1) * (sorted[Math.ceil(place)]! - below);
}

function bounded(value: number): number {
  return Math.min(1, Math.max(0, value));
}
