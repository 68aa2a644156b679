/** Runs the networks of unhaze by ONNX Runtime: on WebGPU where there is one, else in WebAssembly. */

import { expose, transfer } from "comlink";
import type * as Runtime from "onnxruntime-web/wasm";
import type { FloatPicture } from "../restore/field";

/** `device`: where it ran. */
export interface Restored {
  picture: FloatPicture;
  device: "webgpu" | "wasm";
}

interface Loaded {
  session: Runtime.InferenceSession;
  runtime: typeof Runtime;
  device: Restored["device"];
}

const sessions = new Map<string, Promise<Loaded>>();

const worker = {
  /** (height, width, 3) in [0, 1] -> restored, not bounded. `base`: where models/ and runtime/ lie. */
  async run(model: string, hazy: FloatPicture, base: string, webgpu: boolean): Promise<Restored> {
    const found = await loaded(model, base, webgpu);
    try {
      return await run(found, hazy);
    } catch (error) {
      if (found.device === "wasm") throw error;
      console.info("WebGPU fails:", error); // too little memory of the card, for example
      sessions.delete(model);
      return run(await loaded(model, base, false), hazy);
    }
  },
};

export type NetworkWorker = typeof worker;

async function run({ session, runtime, device }: Loaded, hazy: FloatPicture): Promise<Restored> {
  const { width, height } = hazy;
  const tensor = new runtime.Tensor("float32", planes(hazy), [1, 3, height, width]);
  const outputs = await session.run({ [session.inputNames[0]!]: tensor });
  const values = (await outputs[session.outputNames[0]!]!.getData()) as Float32Array;
  const data = interleaved(values, width * height);
  return transfer({ picture: { width, height, data }, device }, [data.buffer]);
}

function loaded(model: string, base: string, webgpu: boolean): Promise<Loaded> {
  let session = sessions.get(model);
  if (!session) {
    session = load(model, base, webgpu);
    sessions.set(model, session);
    session.catch(() => sessions.delete(model));
  }
  return session;
}

async function load(model: string, base: string, webgpu: boolean): Promise<Loaded> {
  const response = await fetch(new URL(`models/${model}.onnx`, base));
  if (!response.ok) throw new Error(`models/${model}.onnx: ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (webgpu && (await hasGpu())) {
    try {
      const runtime = await import("onnxruntime-web/webgpu");
      configure(runtime, base, "asyncify");
      const session = await runtime.InferenceSession.create(bytes, { executionProviders: ["webgpu"] });
      return { session, runtime, device: "webgpu" };
    } catch (error) {
      console.info("WebGPU is not used:", error);
    }
  }
  const runtime = await import("onnxruntime-web/wasm");
  configure(runtime, base, "");
  const session = await runtime.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return { session, runtime, device: "wasm" };
}

function configure(runtime: typeof Runtime, base: string, variant: string): void {
  const name = `runtime/ort-wasm-simd-threaded${variant && `.${variant}`}`;
  const { wasm } = runtime.env;
  wasm.wasmPaths = { mjs: new URL(`${name}.mjs`, base).href, wasm: new URL(`${name}.wasm`, base).href };
  runtime.env.logLevel = "error";
  wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
}

interface Adapter {
  info?: { isFallbackAdapter?: boolean };
  isFallbackAdapter?: boolean; // where it was before
}

/** A graphics card, not a processor that plays one. */
async function hasGpu(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  const adapter = await gpu?.requestAdapter();
  return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

function planes({ data, width, height }: FloatPicture): Float32Array {
  const size = width * height;
  const values = new Float32Array(3 * size);
  for (let i = 0; i < size; i++) {
    for (let channel = 0; channel < 3; channel++) values[channel * size + i] = data[3 * i + channel]!;
  }
  return values;
}

function interleaved(values: Float32Array, size: number): Float32Array {
  const data = new Float32Array(3 * size);
  for (let i = 0; i < size; i++) {
    for (let channel = 0; channel < 3; channel++) data[3 * i + channel] = values[channel * size + i]!;
  }
  return data;
}

expose(worker);
