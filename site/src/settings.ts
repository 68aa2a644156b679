/** Where this page runs, and what a person chose: kept in this browser only. */

import { effect, signal } from "@preact/signals";
import type { Place } from "./entries";

/**
 * What config.json says. `server`: unhaze serve is behind the page; `browser`: the runtime is here;
 * `codecs`: libvips and libheif for browsers are.
 */
export interface Config {
  server: boolean;
  browser: boolean;
  codecs: boolean;
  webgpu: boolean;
  sample: boolean;
}

export const config = signal<Config>({ server: false, browser: true, codecs: true, webgpu: true, sample: true });
export const place = signal<Place>("browser");

export async function readConfig(): Promise<void> {
  const response = await fetch("config.json").catch(() => null);
  if (response?.ok) config.value = { ...config.value, ...((await response.json()) as Partial<Config>) };
  const { server, browser } = config.value;
  const wanted = remembered("place");
  if (server && (wanted !== "browser" || !browser)) place.value = "server";
  effect(() => remember("place", place.value));
}

/** null too where the browser allows no memory. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(`unhaze.${key}`);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(`unhaze.${key}`, value);
  } catch {
    return;
  }
}
