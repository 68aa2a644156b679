/**
 * The service worker: keeps the page for offline use, isolates it for threads, takes shared photos.
 *
 * A new one waits until no tab has the old page open, whose files it would take away.
 */

declare const self: ServiceWorkerGlobalScope;
export {};

const PAGE = "unhaze-page-%PAGE_VERSION%";
const PAGE_FILES = "%PAGE_FILES%" as unknown as string[];
const LATER = "unhaze-later-%LATER_VERSION%"; // runtime, models, sample: large
const LATER_FILES = "%LATER_FILES%" as unknown as string[];
const SHARED = "unhaze-shared";
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:;" +
  " connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'";

// libvips binds its functions by code that it writes itself (embind): in these workers, nowhere in the page.
const BINDING = /\/(codecs\/vips-|assets\/picture\.worker)/;
const POLICY_TO_BIND = POLICY.replace("'wasm-unsafe-eval'", "'wasm-unsafe-eval' 'unsafe-eval'");

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(PAGE);
    await cache.addAll(PAGE_FILES.map((file) => new Request(file, { cache: "reload" })));
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => /^unhaze-(page|later)-/.test(name) && name !== PAGE && name !== LATER);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
    if (!savesData()) await fill();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== self.location.origin) return;
  if (event.request.method === "POST" && url.pathname.endsWith("/share")) event.respondWith(takeShared(event.request));
  else if (event.request.method === "GET") event.respondWith(respond(event.request));
});

/** Fetches what is needed offline; what does not come now, comes when it is used. */
async function fill(): Promise<void> {
  const cache = await caches.open(LATER);
  for (const file of LATER_FILES) {
    if (!(await cache.match(file))) await cache.add(file).catch(() => undefined);
  }
}

function savesData(): boolean {
  return Boolean((navigator as { connection?: { saveData?: boolean } }).connection?.saveData);
}

/** What is kept, else what comes from the network; the page itself under its plain address. */
async function respond(request: Request): Promise<Response> {
  const wanted = request.mode === "navigate" ? "index.html" : request;
  const kept = await caches.match(wanted, { ignoreSearch: true });
  if (kept) return isolated(kept, request.url);
  const fresh = await fetch(request);
  if (fresh.ok && fresh.type === "basic" && /\/(runtime|models|samples|codecs)\//.test(request.url)) {
    const cache = await caches.open(LATER);
    await cache.put(request, fresh.clone()).catch(() => undefined);
  }
  return isolated(fresh, request.url);
}

/** With the headers that a plain file server does not send: threads need them, and workers a policy. */
function isolated(response: Response, url: string): Response {
  if (response.type === "opaqueredirect" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  headers.set("Content-Security-Policy", BINDING.test(url) ? POLICY_TO_BIND : POLICY);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** Photos from another app wait in a cache until the page opens (Web Share Target). */
async function takeShared(request: Request): Promise<Response> {
  const form = await request.formData();
  const cache = await caches.open(SHARED);
  const files = form.getAll("photos").filter((each): each is File => each instanceof File);
  await Promise.all(files.map((file, i) =>
    cache.put(`shared/${i}-${encodeURIComponent(file.name)}`, new Response(file, { headers: { "content-type": file.type } })),
  ));
  return Response.redirect("./?shared", 303);
}
