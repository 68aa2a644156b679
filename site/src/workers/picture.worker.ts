/** Decodes, fits, applies and encodes, beside the page and beside the network. */

import { expose, transfer } from "comlink";
import { place } from "../formats/codecs";
import { Colours } from "../formats/colours";
import { readPhoto, writePhoto, type Read, type Traits } from "../formats/photo";
import { analysisPicture } from "../restore/analysis";
import { controlled, keepsCast, placesOf, type Controls, type Places } from "../restore/controlling";
import { applyField, applySmall, fitField, type Field, type FloatPicture, type Picture } from "../restore/field";
import { asStored, upright } from "../restore/turning";

/** What the page shows of a photo: 8 bits a sample, of at most `limit` pixels a side. */
export interface Shown {
  picture: Picture;
  traits: Traits;
  /** A cube of 33 steps a side, own colours -> sRGB, for photos with a profile; see `Colours`. */
  table: Uint8Array | null;
}

/** `balance`: the white balance that suits the result; of use where `controls` had none. */
export interface Fitted {
  field: Field;
  preview: Blob;
  balance: number;
}

/** What goes to the network: upright, sRGB, in [0, 1]. */
export interface Seen {
  analysis: FloatPicture;
  traits: Traits;
}

/** The last photo, decoded: showing, fitting and saving it follow each other. */
let last: { file: Blob; read: Promise<Read> } | null = null;

/** The analysis picture in its own colours and in sRGB, as stored. */
interface Small {
  longSide: number;
  own: FloatPicture;
  seen: FloatPicture;
}
const smalls = new WeakMap<Picture, Small>();

const worker = {
  /** Said first. `base`: the page's folder; `there`: whether libvips and libheif lie in it. */
  begin(base: string, there: boolean): void {
    Object.assign(place, { base, there });
  },

  /** The analysis picture of a photo, for the network. */
  async look(file: Blob, longSide: number): Promise<Seen> {
    const { traits, picture } = await opened(file);
    const { seen } = await analysis(picture, traits, longSide);
    return { analysis: upright(seen, traits.orientation), traits };
  },

  /** The field, as the rows of the file are stored, from what the network made of `look`; and a thumbnail. */
  async fit(file: Blob, longSide: number, restored: FloatPicture, controls: Controls): Promise<Fitted> {
    const { traits, picture } = await opened(file);
    const { own, seen, colours } = await analysis(picture, traits, longSide);
    const hazy = upright(seen, traits.orientation);
    const clear = asStored(controlled(hazy, restored, controls), traits.orientation);
    const result = colours ? colours.fromSrgb(clear, seen.data, own.data) : clear;
    const field = fitField(own, result, traits.grey);
    const small = applySmall(field, own);
    const shown = upright(colours ? { ...small, data: colours.toSrgb(small.data) } : small, traits.orientation);
    const preview = await previewOf(shown);
    return transfer({ field, preview, balance: Number(keepsCast(hazy, shown)) }, [field.gains.buffer, field.offsets.buffer]);
  },

  /** What controls go by, upright. */
  async places(file: Blob, longSide: number, restored: FloatPicture): Promise<Places> {
    const { analysis } = await worker.look(file, longSide);
    return placesOf(analysis, restored);
  },

  /** The same of two small files, that the browser decodes. */
  async placesOfFiles(...files: [hazy: Blob, restored: Blob]): Promise<Places> {
    const [hazy, restored] = await Promise.all(files.map(floatsOf));
    return placesOf(hazy!, restored!);
  },

  /** The photo for the screen. */
  async show(file: Blob, limit: number): Promise<Shown> {
    const { traits, picture } = await opened(file);
    const colours = await Colours.of(traits.profile);
    const shown = forScreen(picture, limit, traits.white);
    return transfer({ picture: shown, traits, table: colours?.table() ?? null }, [shown.data.buffer]);
  },

  /** The restored photo as a file at full size. */
  async save(file: Blob, field: Field, strength: number): Promise<Uint8Array<ArrayBuffer>> {
    const { traits, picture } = await opened(file);
    const original = new Uint8Array(await file.arrayBuffer());
    const encoded = await writePhoto(applyField(field, picture, strength, traits.white), traits, original);
    return transfer(encoded, [encoded.buffer]);
  },

  /** Lets go of the decoded photo. */
  forget(): void {
    last = null;
  },
};

export type PictureWorker = typeof worker;

async function opened(file: Blob): Promise<Read> {
  if (last?.file !== file && !(last && (await same(last.file, file)))) {
    last = null; // before the next is decoded: two do not fit on a phone
    last = { file, read: file.arrayBuffer().then((bytes) => readPhoto(new Uint8Array(bytes), file.type)) };
  }
  return last!.read;
}

/** Each message brings a file object of its own. */
async function same(one: Blob, other: Blob): Promise<boolean> {
  if (one.size !== other.size || one.type !== other.type) return false;
  const tails = await Promise.all([one, other].map((each) => each.slice(-4096).arrayBuffer()));
  const heads = await Promise.all([one, other].map((each) => each.slice(0, 4096).arrayBuffer()));
  return equal(tails[0]!, tails[1]!) && equal(heads[0]!, heads[1]!);
}

function equal(one: ArrayBuffer, other: ArrayBuffer): boolean {
  const bytes = new Uint8Array(other);
  return new Uint8Array(one).every((each, i) => each === bytes[i]);
}

async function analysis(picture: Picture, traits: Traits, longSide: number) {
  const colours = await Colours.of(traits.profile);
  let small = smalls.get(picture);
  if (small?.longSide !== longSide) {
    const own = analysisPicture(picture, longSide, traits.white);
    small = { longSide, own, seen: colours ? { ...own, data: colours.toSrgb(own.data) } : own };
    smalls.set(picture, small);
  }
  return { ...small, colours };
}

/** 8 bits a sample; every n-th pixel where it is larger than textures may be. */
function forScreen(picture: Picture, limit: number, white: number): Picture {
  const step = Math.ceil(Math.max(picture.width, picture.height) / limit);
  const wide = picture.data.BYTES_PER_ELEMENT === 2;
  const scale = 255 / white;
  if (step === 1 && !wide) return { ...picture, data: picture.data.slice() };
  const width = Math.floor(picture.width / step);
  const height = Math.floor(picture.height / step);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0, at = 0; row < height; row++) {
    let from = 4 * row * step * picture.width;
    for (let column = 0; column < width; column++, from += 4 * step) {
      for (let channel = 0; channel < 3; channel++) data[at++] = picture.data[from + channel]! * scale;
      data[at++] = wide ? picture.data[from + 3]! >> 8 : picture.data[from + 3]!;
    }
  }
  return { width, height, data };
}

async function floatsOf(file: Blob): Promise<FloatPicture> {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d")!;
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data: Float32Array.from({ length: 3 * width * height }, (_, i) => data[4 * Math.floor(i / 3) + (i % 3)]! / 255) };
}

/** A JPEG for the list of photos. */
async function previewOf(picture: FloatPicture): Promise<Blob> {
  const { width, height } = picture;
  const data = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let channel = 0; channel < 3; channel++) data.data[4 * i + channel] = 255 * picture.data[3 * i + channel]!;
    data.data[4 * i + 3] = 255;
  }
  const scale = Math.min(1, 256 / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, Math.round(side * scale))) as [number, number];
  const canvas = new OffscreenCanvas(...size);
  const bitmap = await createImageBitmap(data, { resizeWidth: size[0], resizeHeight: size[1], resizeQuality: "high" });
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

expose(worker);
