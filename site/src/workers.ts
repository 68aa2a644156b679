/** The two workers: one decodes, fits and encodes, the other one runs networks. */

import { wrap, type Remote } from "comlink";
import { config } from "./settings";
import type { NetworkWorker } from "./workers/network.worker";
import type { PictureWorker } from "./workers/picture.worker";

let network: { remote: Remote<NetworkWorker>; worker: Worker } | null = null;
let picture: Remote<PictureWorker> | null = null;

/** The worker that decodes and encodes. */
export function pictures(): Remote<PictureWorker> {
  if (!picture) {
    picture = wrap<PictureWorker>(
      new Worker(new URL("./workers/picture.worker.ts", import.meta.url), { type: "module", name: "picture" }),
    );
    void picture.begin(base(), config.value.codecs);
  }
  return picture;
}

/** The worker that runs networks; another one after `endNetworks`. */
export function networks(): Remote<NetworkWorker> {
  if (!network) {
    const worker = new Worker(new URL("./workers/network.worker.ts", import.meta.url), { type: "module", name: "network" });
    network = { worker, remote: wrap<NetworkWorker>(worker) };
  }
  return network.remote;
}

/** Nothing else stops a network that runs. */
export function endNetworks(): void {
  network?.worker.terminate();
  network = null;
}

/** The page's folder. */
export function base(): string {
  return new URL("./", document.baseURI).href;
}
