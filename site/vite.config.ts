/** Builds the page: static files with relative addresses, runtime and models beside them, a service worker. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, extname } from "node:path";
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
  "samples/valley.jpg": at("../samples/valley.jpg"),
};
const TYPES: Record<string, string> = {
  ".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream", ".jpg": "image/jpeg",
};
/** What the service worker fetches only when it is used. */
const LATER = /^(runtime|models|samples)\/|\.wasm$|^sw\.js$|^config\.json$/;

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

/** Tells the service worker which files the page is made of, and a version by their contents. */
function listed(): Plugin {
  return {
    name: "listed-files",
    enforce: "post",
    generateBundle(_, bundle) {
      const names = [...Object.keys(bundle), ...["icon.svg", "icon-192.png", "icon-512.png", "site.webmanifest"]];
      const files = names.filter((name) => !LATER.test(name)).sort();
      const worker = Object.values(bundle).find((each) => each.fileName === "sw.js");
      if (worker?.type !== "chunk") throw new Error("no sw.js in the bundle");
      const version = createHash("sha256").update(files.join()).digest("hex").slice(0, 12);
      worker.code = worker.code.replace('"%FILES%"', JSON.stringify(files)).replace("%VERSION%", version);
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
        assetFileNames: (asset) => `assets/${basename(asset.names[0] ?? "file", extname(asset.names[0] ?? ""))}-[hash][extname]`,
      },
    },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
