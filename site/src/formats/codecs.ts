/**
 * Where libvips and libheif lie as WebAssembly: files beside the page that are fetched when a photo needs them.
 *
 * Both are under the LGPL: they stay files of their own that anybody may replace.
 */

/** What the page says to this worker first. `base`: the page's folder; `there`: whether they lie in it. */
export const place = { base: "", there: false };

/** They are not beside this page, or the browser lets no page have threads that is not isolated. */
export class NotHere extends Error {
  override name: string;

  constructor(reason: "NeedsServer" | "NeedsReload") {
    super(reason);
    this.name = reason;
  }
}

/** Its exported module. NotHere: it cannot be had. */
export async function codec<Module>(name: string): Promise<Module> {
  if (!place.there) throw new NotHere("NeedsServer");
  return (await import(/* @vite-ignore */ addressOf(name))) as Module;
}

export function addressOf(name: string): string {
  return new URL(`codecs/${name}`, place.base).href;
}
