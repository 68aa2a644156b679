/** What transparency hides takes the colours of what is visible near by: the network sees no hole. */

import type { FloatPicture } from "./field";

const VISIBLE = 0.5 / 255;

/** A copy of `picture` whose pixels with `alpha` (height, width) of 0 have colours around them. */
export function hiddenFilled(picture: FloatPicture, alpha: Float32Array): FloatPicture {
  const { width, height } = picture;
  const weight = alpha.map((value) => (value > VISIBLE ? 1 : 0));
  const seen = weight.reduce((total, each) => total + each, 0);
  if (seen === 0 || seen === weight.length) return picture;
  const known = weight.slice();
  const shown = picture.data.map((value, i) => (weight[Math.floor(i / 3)] ? value : 0));
  const data = shown.slice();
  for (let radius = 2; known.includes(0); radius *= 2) {
    const around = windowMeans(weight, width, height, 1, radius);
    const means = windowMeans(shown, width, height, 3, radius);
    for (let i = 0; i < known.length; i++) {
      if (known[i] || around[i]! <= 1e-6) continue;
      for (let channel = 0; channel < 3; channel++) {
        data[3 * i + channel] = means[3 * i + channel]! / Math.max(around[i]!, 1e-9);
      }
      known[i] = 1;
    }
    if (radius >= 2 * Math.max(width, height)) break;
  }
  return { width, height, data };
}

/** Means over windows of 2 * radius + 1, of what of them lies inside the picture. */
function windowMeans(
  values: Float32Array, width: number, height: number, bands: number, radius: number,
): Float64Array {
  const stride = (width + 1) * bands;
  const sums = new Float64Array(stride * (height + 1));
  for (let row = 0; row < height; row++) {
    for (let i = 0; i < width * bands; i++) {
      const at = (row + 1) * stride + i + bands;
      const left = at - bands;
      sums[at] = values[row * width * bands + i]! + sums[left]! + sums[at - stride]! - sums[left - stride]!;
    }
  }
  const means = new Float64Array(values.length);
  for (let row = 0; row < height; row++) {
    const top = Math.max(row - radius, 0) * stride;
    const bottom = Math.min(row + radius + 1, height) * stride;
    for (let column = 0; column < width; column++) {
      const left = Math.max(column - radius, 0) * bands;
      const right = Math.min(column + radius + 1, width) * bands;
      const count = ((bottom - top) / stride) * ((right - left) / bands);
      for (let band = 0; band < bands; band++) {
        const sum = sums[bottom + right + band]! - sums[top + right + band]! - sums[bottom + left + band]! + sums[top + left + band]!;
        means[(row * width + column) * bands + band] = sum / count;
      }
    }
  }
  return means;
}
