/** The field and the analysis picture against those of the Python half. */

import { expect, test } from "vitest";
import { analysisPicture } from "../src/restore/analysis";
import { controlled, darkest, keepsCast, type Controls } from "../src/restore/controlling";
import { applyField, fitField } from "../src/restore/field";
import { golden, largestDifference, picture, unpacked } from "./golden";

const floats = (packed: unknown) => {
  const { width, height, data } = unpacked(packed);
  return { width, height, data: data as Float32Array };
};

test.each(golden.fit!.map((each, i) => [i, each] as const))("field %i is the golden one", (_, each) => {
  const field = fitField(floats(each.hazy), floats(each.restored), each.grey as boolean);
  expect(largestDifference(field.gains, floats(each.gains).data)).toBeLessThan(2e-3);
  expect(largestDifference(field.offsets, floats(each.offsets).data)).toBeLessThan(2e-3);
});

test.each(golden.apply!.map((each, i) => [i, each] as const))("picture %i is restored alike", (_, each) => {
  const gains = floats(each.gains);
  const field = { ...gains, gains: gains.data, offsets: floats(each.offsets).data };
  const restored = applyField(field, picture(each.pixels), each.strength as number);
  const expected = picture(each.restored);
  expect(largestDifference(restored.data, expected.data)).toBeLessThanOrEqual(1);
  const differing = [...restored.data].filter((each, i) => each !== expected.data[i]).length;
  expect(differing / restored.data.length).toBeLessThan(0.02);
});

test.each(golden.analysis!.map((each, i) => [i, each] as const))("analysis picture %i is alike", (_, each) => {
  const small = analysisPicture(picture(each.pixels, each.alpha), each.side as number);
  const expected = floats(each.small);
  expect([small.width, small.height]).toEqual([expected.width, expected.height]);
  expect(largestDifference(small.data, expected.data)).toBeLessThan(2e-4);
});

const choices = golden.control!.flatMap((each) => (each.controls as Controls[]).map((controls, i) => ({ each, controls, i })));

test.each(choices)("a picture with $controls is the golden one", ({ each, controls, i }) => {
  const restored = floats(each.restored);
  const found = controlled(floats(each.hazy), restored, controls);
  const expected = floats((each.controlled as unknown[])[i]).data;
  expect(largestDifference(found.data, expected)).toBeLessThan(2e-4);
  expect(largestDifference(found.data, restored.data)).toBeGreaterThan(0.03); // it did something
});

test.each(golden.cast!.map((each, i) => [i, each] as const))("the colour of haze %i is told as Python tells it", (_, each) => {
  const hazy = floats(each.hazy);
  const [found, expected] = [darkest(hazy), floats(each.darkest)];
  expect([found.width, found.height]).toEqual([expected.width, expected.height]);
  expect(largestDifference(found.data, expected.data)).toBeLessThan(1e-6);
  expect(keepsCast(hazy, floats(each.restored))).toBe(each.surely);
});

test("the colour of haze is no cast where the model has removed it", () => {
  const [dusty, , , grey] = golden.cast!;
  expect(keepsCast(floats(dusty!.hazy), floats(grey!.restored))).toBe(false);
});

test("strength 0 changes nothing", () => {
  const hazy = picture(golden.apply![0]!.pixels);
  const field = { width: 1, height: 1, gains: new Float32Array(3), offsets: new Float32Array(3) };
  expect(applyField(field, hazy, 0).data).toEqual(hazy.data);
});
