/** What a TIFF file says of its picture (camera, time, place), which libvips does not carry (TIFF 6.0; Exif 3.0, 4.6). */

import { joined, startsWith, viewOf } from "./bytes";

const [RESOLUTION, UNIT, NO_UNIT] = [282, 296, 1];
const EXIF = 34665;
const GPS = 34853;
const INTEROPERABILITY = 40965;
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4]; // bytes of each kind
const WORDS = [0, 1, 1, 2, 4, 4, 1, 1, 2, 4, 4, 4, 8, 4]; // that are turned round as one
const LARGEST = 1 << 22; // bytes of values: above, it is no photo's description
// How the pixels are stored, and what libvips writes: size, orientation, XMP, ICC, IPTC and more.
const STORAGE = new Set([274, 282, 283, 296, 700, 33723, 34377, 34675, 37724, 559, 254, 255, 297, 301, 317, 318, 319, 320, 321]);
const RANGES: [number, number][] = [[256, 266], [273, 273], [277, 281], [284, 293], [322, 347], [512, 532]];

/** Tag -> its kind and values in little-endian order, or the directory that it points to. */
type Tree = Map<number, { kind: number; data: Uint8Array } | Tree>;

/** `encoded`, a small-endian TIFF file by libvips, with the description that `original` has. */
export function carriedTags(original: Uint8Array, encoded: Uint8Array): Uint8Array<ArrayBuffer> {
  const all: Tree = treeOf(original, POINTERS) ?? new Map();
  const said: Tree = new Map([...all].filter(([tag]) => !isStorage(tag)));
  const unit = all.get(UNIT);
  const isSized = all.has(RESOLUTION) && !(unit && "data" in unit && unit.data[0] === NO_UNIT);
  if (!isSized) said.set(UNIT, { kind: 3, data: Uint8Array.of(NO_UNIT, 0) });
  const written = treeOf(encoded, new Map());
  const view = viewOf(encoded);
  if (!written || !startsWith(encoded, "II*\0")) return encoded.slice();
  const first = view.getUint32(4, true);
  const following = view.getUint32(first + 2 + 12 * view.getUint16(first, true), true);
  const start = encoded.length + (encoded.length % 2);
  const directory = packed(new Map([...written, ...said]), start, following);
  const whole = new Uint8Array(start + directory.length);
  whole.set(encoded);
  whole.set(directory, start);
  viewOf(whole).setUint32(4, start, true);
  return whole;
}

interface Pointers extends Map<number, Pointers> {}
const POINTERS: Pointers = new Map([[EXIF, new Map([[INTEROPERABILITY, new Map()]])], [GPS, new Map()]]);

function isStorage(tag: number): boolean {
  return STORAGE.has(tag) || RANGES.some(([from, to]) => tag >= from && tag <= to);
}

/** The first directory, or the one at `place`; null where it is damaged or of another kind of file. */
function treeOf(file: Uint8Array, pointers: Pointers, place?: number): Tree | null {
  const little = startsWith(file, "II*\0");
  if (file.length < 8 || !(little || startsWith(file, "MM\0*"))) return null;
  const view = viewOf(file);
  const start = place ?? view.getUint32(4, little);
  if (start + 2 > file.length) return null;
  const count = view.getUint16(start, little);
  if (start + 2 + 12 * count > file.length) return null;
  const tree: Tree = new Map();
  let total = 0;
  for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
    const [tag, kind] = [view.getUint16(at, little), view.getUint16(at + 2, little)];
    const size = view.getUint32(at + 4, little) * (SIZES[kind] ?? 0);
    const inner = pointers.get(tag);
    if (inner) {
      const branch = treeOf(file, inner, view.getUint32(at + 8, little));
      if (branch) tree.set(tag, branch);
      continue;
    }
    const from = size > 4 ? view.getUint32(at + 8, little) : at + 8;
    if (size === 0 || from + size > file.length || (total += size) > LARGEST) continue;
    tree.set(tag, { kind, data: ordered(file.slice(from, from + size), WORDS[kind]!, little) });
  }
  return tree;
}

function ordered(data: Uint8Array, word: number, little: boolean): Uint8Array {
  if (!little) for (let at = 0; at < data.length; at += word) data.subarray(at, at + word).reverse();
  return data;
}

/** The directory as it will lie at `start`, values and inner directories behind it. */
function packed(tree: Tree, start: number, following = 0): Uint8Array {
  const lines = new Uint8Array(2 + 12 * tree.size + 4);
  const view = viewOf(lines);
  const values: Uint8Array[] = [];
  let end = start + lines.length;
  const behind = (data: Uint8Array) => {
    const place = end;
    values.push(data, new Uint8Array(data.length % 2));
    end += data.length + (data.length % 2);
    return place;
  };
  view.setUint16(0, tree.size, true);
  [...tree].sort(([one], [other]) => one - other).forEach(([tag, each], i) => {
    const at = 2 + 12 * i;
    const isBranch = each instanceof Map;
    const kind = isBranch ? 4 : each.kind;
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, kind, true);
    view.setUint32(at + 4, isBranch ? 1 : each.data.length / SIZES[kind]!, true);
    if (isBranch) view.setUint32(at + 8, behind(packed(each, end)), true);
    else if (each.data.length > 4) view.setUint32(at + 8, behind(each.data), true);
    else lines.set(each.data, at + 8);
  });
  view.setUint32(lines.length - 4, following, true);
  return joined([lines, ...values]);
}
