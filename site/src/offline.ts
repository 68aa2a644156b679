/** The service worker, for pages without a server behind them, and what it hands over. */

import { entries } from "./entries";
import { config } from "./settings";
import { take } from "./taking";

const SHARED = "unhaze-shared";

/** On `unhaze serve` none is registered: another program may use the same port tomorrow. */
export function startOffline(): void {
  if (!("serviceWorker" in navigator) || config.value.server || import.meta.env.DEV) return;
  isolate();
  void navigator.serviceWorker.register("sw.js").catch((error: unknown) => console.info("offline:", error));
  if (new URLSearchParams(location.search).has("shared")) void takeShared();
}

/**
 * Loads the page of a first visit once more when the service worker has come: only a page that came with its
 * headers has threads. Not where there are photos already, and never twice.
 */
function isolate(): void {
  if (crossOriginIsolated || navigator.serviceWorker.controller) return;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (!entries.value.length) location.reload();
  }, { once: true });
}

/** Photos that another app shared with the installed page. */
async function takeShared(): Promise<void> {
  const cache = await caches.open(SHARED);
  const files = await Promise.all(
    (await cache.keys()).map(async (request) => {
      const response = await cache.match(request);
      const blob = await response!.blob();
      await cache.delete(request);
      const name = decodeURIComponent(request.url.split("/").at(-1) ?? "photo").replace(/^\d+-/, "");
      return new File([blob], name, { type: blob.type });
    }),
  );
  history.replaceState(null, "", "./");
  take(files);
}
