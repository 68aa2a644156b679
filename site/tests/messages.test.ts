/** Every language says everything, with the same names to fill in. */

import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { LANGUAGES } from "../src/i18n";

const folder = new URL("../src/messages/", import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(new URL(name, folder), "utf-8")) as Record<string, string>;
const english = read("en.json");
const names = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();

test("there is a file for each language and no other", () => {
  expect(readdirSync(folder).sort()).toEqual(Object.keys(LANGUAGES).map((each) => `${each}.json`).sort());
});

test.each(Object.keys(LANGUAGES))("%s says everything", (language) => {
  const messages = read(`${language}.json`);
  expect(Object.keys(messages)).toEqual(Object.keys(english));
  for (const [key, text] of Object.entries(messages)) {
    expect(text.trim(), key).not.toBe("");
    expect(names(text), key).toEqual(names(english[key]!));
  }
  const same = Object.keys(english).filter((key) => messages[key] === english[key]);
  if (language !== "en") expect(same.length).toBeLessThan(6);
});
