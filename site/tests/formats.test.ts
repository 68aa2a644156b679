/** Files: what they tell, what is carried over, and the encoders. */

import { deflateSync } from "node:zlib";
import { decode } from "fast-png";
import { expect, test } from "vitest";
import { joined, latin, viewOf } from "../src/formats/bytes";
import { orientationOf, thumbnailRoom, withThumbnail } from "../src/formats/exif";
import * as jpeg from "../src/formats/jpeg";
import { encodeJpeg } from "../src/formats/jpeg_encoder";
import { decodePng, encodePng } from "../src/formats/png";
import * as webp from "../src/formats/webp";
import { storedPlace, upright } from "../src/restore/turning";

/** A TIFF structure: orientation 6, and a second directory with a thumbnail of `room` bytes. */
function exifBlock(room: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(56 + room);
  const view = viewOf(block);
  block.set(latin("II*\0"));
  view.setUint32(4, 8, true);
  const entry = (at: number, tag: number, kind: number, value: number) => {
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, kind, true);
    view.setUint32(at + 4, 1, true);
    view.setUint32(at + 8, value, true);
  };
  view.setUint16(8, 1, true);
  entry(10, 0x0112, 3, 6);
  view.setUint32(22, 26, true);
  view.setUint16(26, 2, true);
  entry(28, 0x0201, 4, 56);
  entry(40, 0x0202, 4, room);
  return block;
}

function waves(width: number, height: number, wide = false) {
  const top = wide ? 65535 : 255;
  const data = wide ? new Uint16Array(4 * width * height) : new Uint8Array(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const place = [i % width, Math.floor(i / width), (i % width) + i / width];
    place.forEach((each, channel) => (data[4 * i + channel] = top * (0.5 + 0.4 * Math.sin(each / 5 + channel))));
    data[4 * i + 3] = i % 3 ? top : top / 4;
  }
  return { width, height, data };
}

test("EXIF is edited in place", () => {
  const block = exifBlock(30);
  expect(orientationOf(block)).toBe(6);
  expect(thumbnailRoom(block)).toBe(30);
  const changed = withThumbnail(block, Uint8Array.of(1, 2, 3));
  expect(changed.length).toBe(block.length);
  expect(thumbnailRoom(changed)).toBe(3);
  expect([...changed.subarray(56, 60)]).toEqual([1, 2, 3, 0]);
  expect(thumbnailRoom(withThumbnail(block, null))).toBe(0);
  expect(orientationOf(Uint8Array.of(1, 2, 3))).toBe(1);
});

test.each([
  [{ quality: 83, grey: false, fullChroma: false }],
  [{ quality: 92, grey: false, fullChroma: true }],
  [{ quality: 60, grey: true, fullChroma: true }],
])("a JPEG says how it was written: %o", (settings) => {
  const encoded = encodeJpeg(waves(37, 21), settings);
  expect(jpeg.factsOf(encoded)).toMatchObject(settings);
});

test("a JPEG takes over what another one holds, and is decoded without it", () => {
  const plain = encodeJpeg(waves(16, 16), { quality: 90, grey: false, fullChroma: true });
  const note = joined([latin("Exif\0\0"), exifBlock(40)]);
  const app = (marker: number, data: Uint8Array) =>
    joined([Uint8Array.of(0xff, marker, 0, data.length + 2), data]);
  const icc = app(0xe2, joined([latin("ICC_PROFILE\0"), Uint8Array.of(1, 1, 7, 7, 7)]));
  const views = app(0xe2, latin("MPF\0..."));
  const original = joined([plain.subarray(0, 20), app(0xe1, note), icc, views, app(0xfe, latin("hello")), plain.subarray(20)]);
  const facts = jpeg.factsOf(original);
  expect(orientationOf(facts.exif)).toBe(6);
  expect([...facts.profile!]).toEqual([7, 7, 7]);
  expect(facts.behind).toBe(true);
  const written = jpeg.withMetadata(plain, original, Uint8Array.of(9));
  const again = jpeg.factsOf(written);
  expect([orientationOf(again.exif), thumbnailRoom(again.exif!), again.behind]).toEqual([6, 1, false]);
  expect([...again.profile!]).toEqual([7, 7, 7]);
  expect(String.fromCharCode(...written)).toContain("hello");
  expect(jpeg.factsOf(jpeg.bare(original)).exif).toBeNull();
  expect([...jpeg.bare(original)]).toEqual([...plain]);
});

test.each([
  [{ grey: false, alpha: true }, false],
  [{ grey: false, alpha: false }, true],
  [{ grey: true, alpha: false }, false],
])("PNG comes back as it was written: %o, 16 bits: %s", async (kind, wide) => {
  const picture = waves(23, 17, wide);
  for (let i = 0; i < picture.data.length; i += 4) {
    if (kind.grey) picture.data.fill(picture.data[i]!, i, i + 3);
    if (!kind.alpha) picture.data[i + 3] = wide ? 65535 : 255;
  }
  const encoded = await encodePng(picture, kind, null, null);
  expect(decode(encoded).depth).toBe(wide ? 16 : 8);
  const back = decodePng(encoded);
  expect(back).toMatchObject(kind);
  expect([...back.picture.data]).toEqual([...picture.data]);
});

test("a PNG with a palette and few bits is read", () => {
  const chunk = (kind: string, data: Uint8Array) => {
    const whole = joined([new Uint8Array(4), latin(kind), data, new Uint8Array(4)]);
    viewOf(whole).setUint32(0, data.length);
    return whole;
  };
  const header = Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 0, 0, 0); // 4 x 1, 2 bits, palette
  const file = joined([
    latin("\x89PNG\r\n\x1a\n"),
    chunk("IHDR", header),
    chunk("PLTE", Uint8Array.of(10, 20, 30, 200, 100, 50)),
    chunk("IDAT", deflateSync(Uint8Array.of(0, 0b00010001))),
    chunk("IEND", new Uint8Array(0)),
  ]);
  const { picture } = decodePng(file);
  expect([...picture.data.subarray(0, 8)]).toEqual([10, 20, 30, 255, 200, 100, 50, 255]);
});

test("WebP takes over metadata in an extended file", () => {
  const chunk = (kind: string, data: Uint8Array) => {
    const size = new Uint8Array(4);
    viewOf(size).setUint32(0, data.length, true);
    return joined([latin(kind), size, data, new Uint8Array(data.length % 2)]);
  };
  const file = (...chunks: Uint8Array[]) => joined([latin("RIFF\0\0\0\0WEBP"), ...chunks]);
  const pixels = chunk("VP8L", Uint8Array.of(0x2f, 0, 0, 0, 0));
  const original = file(chunk("VP8X", new Uint8Array(10)), chunk("ICCP", latin("abc")), pixels, chunk("EXIF", exifBlock(9)));
  const written = webp.withMetadata(file(pixels), original, { width: 300, height: 2 }, null);
  const facts = webp.factsOf(written);
  expect(String.fromCharCode(...facts.profile!)).toBe("abc");
  expect(orientationOf(facts.exif)).toBe(6);
  expect(viewOf(written).getUint32(4, true)).toBe(written.length - 8);
  expect([...written.subarray(20, 30)]).toEqual([0x28, 0, 0, 0, 43, 1, 0, 1, 0, 0]);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])("orientation %i turns each pixel to its place", (orientation) => {
  const data = Float32Array.from({ length: 18 }, (_, i) => i);
  const turned = upright({ width: 3, height: 2, data }, orientation);
  expect(turned.width).toBe(orientation > 4 ? 2 : 3);
  const [column, row] = storedPlace(1, 0, orientation, 3, 2);
  expect(turned.data[3]).toBe(data[3 * (3 * row + column)]);
  expect(new Set(turned.data).size).toBe(18);
});
