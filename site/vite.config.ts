/** Builds the page: static files with relative addresses, runtime and models beside them, a service worker. */

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import preact from "@preact/preset-vite";
import { defaultClientConditions, type Plugin } from "vite";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const runtime = ["", ".asyncify"].flatMap((variant) =>
  [".mjs", ".wasm"].map((suffix) => `ort-wasm-simd-threaded${variant}${suffix}`),
);

/** Address in the site -> file that it is copied from. */
const COPIED: Record<string, string> = {
  ...Object.fromEntries(
    runtime.map((name) => [`runtime/${name}`, at(`node_modules/onnxruntime-web/dist/${name}`)]),
  ),
  ...Object.fromEntries(
    ["photo", "photo-fast"].map((name) => [`models/${name}.onnx`, at(`../src/unhaze/models/${name}.onnx`)]),
  ),
  ...Object.fromEntries(
    ["vips.wasm", "vips-heif.wasm"].map((name) => [`codecs/${name}`, at(`node_modules/wasm-vips/lib/${name}`)]),
  ),
  "codecs/vips-es6.js": at("node_modules/wasm-vips/lib/vips-es6.js"),
  "codecs/heif.mjs": at("node_modules/libheif-js/libheif-wasm/libheif-bundle.mjs"),
  "codecs/vips-licences.md": at("node_modules/wasm-vips/THIRD-PARTY-NOTICES.md"),
  "codecs/heif-licence.txt": at("node_modules/libheif-js/libheif-wasm/LICENSE"),
  "samples/valley.jpg": at("../samples/valley.jpg"),
};
const TYPES: Record<string, string> = {
  ".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream", ".jpg": "image/jpeg",
};
/** What the service worker fetches behind the page, or only when it is used. */
const LATER = /^(runtime|models|samples|codecs)\//;
const UNLISTED = /^sw\.js$|^config\.json$|\.asyncify\.|-licence/;

function copied(): Plugin {
  return {
    name: "copied-files",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const file = COPIED[(request.url ?? "").replace(/^\/|\?.*$/g, "")];
        if (!file) return next();
        response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
        response.end(readFileSync(file));
      });
    },
    generateBundle() {
      for (const [fileName, file] of Object.entries(COPIED)) {
        this.emitFile({ type: "asset", fileName, source: readFileSync(file) });
      }
    },
  };
}

/** Tells the service worker which files there are, and versions by their contents. */
function listed(): Plugin {
  const rank = (name: string) => Number(name.startsWith("codecs/"));
  return {
    name: "listed-files",
    enforce: "post",
    generateBundle(_, bundle) {
      const contents = new Map<string, string | Uint8Array>();
      for (const each of Object.values(bundle)) contents.set(each.fileName, each.type === "chunk" ? each.code : each.source);
      for (const name of readdirSync(at("public"))) contents.set(name, readFileSync(at(`public/${name}`)));
      const names = [...contents.keys()].filter((name) => !UNLISTED.test(name)).sort();
      const version = (chosen: string[]) => {
        const hash = createHash("sha256");
        for (const name of chosen) hash.update(name).update(contents.get(name)!);
        return hash.digest("hex").slice(0, 12);
      };
      const page = names.filter((name) => !LATER.test(name));
      // What few photos need comes last.
      const later = names.filter((name) => LATER.test(name)).sort((one, other) => rank(one) - rank(other));
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("no sw.js in the bundle");
      const lists = { PAGE: page, LATER: [...later, "config.json"] };
      for (const [kind, files] of Object.entries(lists)) {
        worker.code = worker.code
          .replace(new RegExp(`["'\`]%${kind}_FILES%["'\`]`), JSON.stringify(files))
          .replace(`%${kind}_VERSION%`, version(kind === "PAGE" ? page : later));
      }
      if (worker.code.includes("%")) throw new Error("sw.js was not filled in");
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [preact(), copied(), listed()],
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: at("index.html"), sw: at("src/sw.ts") },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "style.css" : "assets/[name]-[hash][extname]"),
      },
    },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
