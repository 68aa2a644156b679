/** Colours of a photo with an ICC profile, as sRGB and back, by LittleCMS in 16 bits (managed.py). */

import type { FloatPicture } from "../restore/field";

const RGB_16 = (4 << 16) | (3 << 3) | 2; // LittleCMS's TYPE_RGB_16
const GREY_16 = (3 << 16) | (1 << 3) | 2; // TYPE_GRAY_16
const RELATIVE = 1; // colorimetric
const LARGEST = 48_000; // bytes of a profile that go through the library's stack
const LUT = 33;

interface Engine {
  cmsOpenProfileFromMem(bytes: Uint8Array, size: number): number;
  cmsCreate_sRGBProfile(): number;
  cmsGetColorSpaceASCII(profile: number): string | null;
  cmsCreateTransform(from: number, fromType: number, to: number, toType: number, intent: number, flags: number): number;
  cmsDoTransform(transform: number, samples: Uint16Array, count: number): Uint16Array;
}

/** How samples of one photo become sRGB, and back. */
export class Colours {
  private constructor(private lcms: Engine, private inwards: number, private outwards: number, private grey: boolean) {}

  /** null: it is sRGB to a level of 8 bits, or cannot be used. */
  static async of(profile: Uint8Array | null): Promise<Colours | null> {
    if (!profile || profile.length > LARGEST) return null;
    const lcms = await engine();
    const own = lcms.cmsOpenProfileFromMem(profile, profile.length);
    const space = own ? lcms.cmsGetColorSpaceASCII(own) : null;
    if (space !== "RGB" && space !== "GRAY") return null;
    const kind = space === "RGB" ? RGB_16 : GREY_16;
    const srgb = lcms.cmsCreate_sRGBProfile();
    const inwards = lcms.cmsCreateTransform(own, kind, srgb, RGB_16, RELATIVE, 0);
    const outwards = lcms.cmsCreateTransform(srgb, RGB_16, own, kind, RELATIVE, 0);
    if (!inwards || !outwards) return null;
    const colours = new Colours(lcms, inwards, outwards, space === "GRAY");
    const steps = cube(5);
    const seen = colours.toSrgb(steps);
    const astray = Math.max(...seen.map((each, i) => Math.abs(each - steps[i]!)));
    return astray < 1.5 / 255 ? null : colours;
  }

  /** (n, 3) in [0, 1]. */
  toSrgb(values: Float32Array): Float32Array {
    return this.converted(values, this.inwards, this.grey, false);
  }

  /** The result in the photo's own colours; what sRGB could not hold of them (`values`) is kept. */
  fromSrgb(restored: FloatPicture, seen: Float32Array, values: Float32Array): FloatPicture {
    const back = this.converted(seen, this.outwards, false, this.grey);
    const data = this.converted(restored.data, this.outwards, false, this.grey);
    for (let i = 0; i < data.length; i++) data[i]! += Math.min(1, Math.max(0, values[i]!)) - back[i]!;
    return { ...restored, data };
  }

  /** A cube of `size` steps a side for display: own colours -> sRGB, 8 bits, red fastest. */
  table(size = LUT): Uint8Array {
    return Uint8Array.from(this.toSrgb(cube(size)), (each) => Math.round(255 * each));
  }

  private converted(values: Float32Array, transform: number, fromGrey: boolean, toGrey: boolean): Float32Array {
    const count = values.length / 3;
    const bounded = (value: number) => Math.round(65535 * Math.min(1, Math.max(0, value)));
    const samples = fromGrey
      ? Uint16Array.from({ length: count }, (_, i) => bounded(values[3 * i]!))
      : Uint16Array.from(values, bounded);
    const done = this.lcms.cmsDoTransform(transform, samples, count);
    return toGrey
      ? Float32Array.from(values, (_, i) => done[Math.floor(i / 3)]! / 65535)
      : Float32Array.from(done, (each) => each / 65535);
  }
}

function cube(size: number): Float32Array {
  const steps = new Float32Array(3 * size ** 3);
  for (let i = 0; i < size ** 3; i++) {
    const place = [i % size, Math.floor(i / size) % size, Math.floor(i / size ** 2)];
    place.forEach((each, channel) => (steps[3 * i + channel] = each / (size - 1)));
  }
  return steps;
}

let loading: Promise<Engine> | null = null;

function engine(): Promise<Engine> {
  loading ??= (async () => {
    const [{ instantiate }, { default: url }] = await Promise.all([
      import("lcms-wasm"),
      import("lcms-wasm/dist/lcms.wasm?url"),
    ]);
    return (await instantiate({ locateFile: () => url })) as Engine;
  })();
  return loading;
}
