/** A video that the server restored. */

import { useEffect, useState } from "preact/hooks";
import { update, type Entry } from "../entries";
import { t } from "../i18n";
import * as server from "../server";
import { message } from "../taking";

export function Clip({ entry }: { entry: Entry }) {
  const [address, setAddress] = useState<string | null>(null);
  const model = entry.models.find((each) => entry.results[each]);
  const remote = model && entry.results[model]?.remote;
  useEffect(() => {
    if (!model || !remote) return setAddress(null);
    let made = "";
    server.result(entry, model).then((blob) => setAddress((made = URL.createObjectURL(blob))), (error: Error) => (message.value = error.message));
    return () => URL.revokeObjectURL(made);
  }, [remote]);
  return (
    <div id="stage" class={address ? "" : "waits"}>
      {address ? <video id="clip" controls playsInline src={address} onLoadedData={(event) => keepFirstFrame(entry, event.currentTarget)} /> : <p class="quiet">{t(entry.step ?? "waiting")}</p>}
    </div>
  );
}

const THUMBNAIL = 256; // pixels, the long side

/** For the list of files. */
function keepFirstFrame(entry: Entry, video: HTMLVideoElement): void {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, THUMBNAIL / Math.max(videoWidth, videoHeight));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
  canvas.getContext("2d")?.drawImage(video, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((preview) => preview && update(entry.id, { preview }), "image/jpeg", 0.85);
}
