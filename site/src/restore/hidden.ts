/** What transparency hides takes the colours of what is visible near by: the network sees no hole. */

import type { FloatPicture } from "./field";
import { windowMeans } from "./windows";

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
