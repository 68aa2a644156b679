/** The page in a person's language: one file of messages each, fetched when it is chosen. */

import { signal } from "@preact/signals";
import english from "./messages/en.json";
import { remember, remembered } from "./settings";

export type Key = keyof typeof english;
export const LANGUAGES = {
  en: "English", de: "Deutsch", es: "Español", fr: "Français", zh: "中文", ja: "日本語", hi: "हिन्दी", ar: "العربية",
} as const;
export type Language = keyof typeof LANGUAGES;

const loaders = import.meta.glob<{ default: Partial<Record<Key, string>> }>(["./messages/*.json", "!./messages/en.json"]);
export const language = signal<Language>("en");
const messages = signal<Partial<Record<Key, string>>>(english);

/** The message, its {names} replaced. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = messages.value[key] ?? english[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A number as it is written in this language. */
export function number(value: number, options: Intl.NumberFormatOptions = {}): string {
  return new Intl.NumberFormat(language.value, options).format(value);
}

/** The first of the browser's languages that there is, or what was chosen before. */
export async function startLanguage(): Promise<void> {
  const wanted = [remembered("language"), ...navigator.languages].map((each) => each?.split("-")[0]);
  const found = wanted.find((each): each is Language => Boolean(each && each in LANGUAGES));
  await setLanguage(found ?? "en", false);
}

export async function setLanguage(wanted: Language, chosen = true): Promise<void> {
  if (chosen) remember("language", wanted);
  const load = loaders[`./messages/${wanted}.json`];
  messages.value = load ? (await load()).default : english;
  language.value = wanted;
  document.documentElement.lang = wanted;
  document.documentElement.dir = wanted === "ar" ? "rtl" : "ltr";
  document.title = t("title");
}
