/** A video that the server restored, over the one that was sent: both play together, a divider between. */

import { useEffect, useRef, useState } from "preact/hooks";
import { effect } from "@preact/signals";
import { fileOf, update, type Entry } from "../entries";
import { t } from "../i18n";
import * as server from "../server";
import { message } from "../taking";
import { Pane, Split } from "./Pane";
import { Player } from "./Player";
import { split } from "./view";

const APART = 0.05; // seconds that the two may differ

export function Clip({ entry }: { entry: Entry }) {
  const [before, setBefore] = useState<string | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const hazy = useRef<HTMLVideoElement>(null);
  const clip = useRef<HTMLVideoElement>(null);
  const model = entry.models.find((each) => entry.results[each]);
  const remote = model && entry.results[model]?.remote;

  useEffect(() => shownAt(Promise.resolve(fileOf(entry.id)), setBefore), [entry.id]);
  useEffect(() => {
    setAfter(null);
    return model && remote ? shownAt(server.result(entry, model), setAfter) : undefined;
  }, [entry.id, remote]);
  useEffect(() => effect(() => hazy.current?.style.setProperty("--split", after ? `${split.value}%` : "100%")), [before, after]);

  const follow = () => {
    const [first, second] = [hazy.current, clip.current];
    if (!first || !second) return;
    if (Math.abs(first.currentTime - second.currentTime) > APART) first.currentTime = second.currentTime;
    if (second.paused) first.pause();
    else if (first.paused) void first.play().catch(() => undefined);
  };
  const divide = (event: PointerEvent & { currentTarget: HTMLElement }) => {
    const box = event.currentTarget.getBoundingClientRect();
    split.value = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
  };
  const isReady = Boolean(after);
  const waits = entry.state === "working" || entry.state === "waiting" || (Boolean(remote) && !isReady);
  return (
    <div class="clip">
      <div
        id="stage" class={entry.state === "failed" && entry.error !== "cancelled" ? "failed" : waits ? "waits" : ""} dir="ltr"
        onPointerDown={(event) => {
          if (event.button > 0 || !isReady || !before) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          divide(event);
        }}
        onPointerMove={(event) => event.currentTarget.hasPointerCapture(event.pointerId) && divide(event)}
      >
        {after && <video
          id="clip" ref={clip} playsInline preload="auto" src={after} onLoadedData={(event) => keepFirstFrame(entry, event.currentTarget)}
          onTimeUpdate={follow} onSeeked={follow} onPlay={follow} onPause={follow} onError={() => (message.value = t("notPlayed"))}
        />}
        {before && <video
          id="hazy-clip" ref={hazy} playsInline muted preload="auto" src={before} aria-hidden="true" tabIndex={-1}
          onLoadedData={follow} onError={() => setBefore(null)}
        />}
        <Pane name={isReady ? t("after") : t("before")} place={0} count={1} done={isReady && Boolean(before)} />
        {isReady && before && <Split />}
      </div>
      {after && <Player key={after} video={clip} />}
    </div>
  );
}

/** Hands over an address for what comes, as long as it is shown; returns what ends that. */
function shownAt(coming: Promise<Blob>, show: (address: string | null) => void): () => void {
  let made = "";
  let isOver = false;
  coming.then((blob) => {
    if (!isOver) show((made = URL.createObjectURL(blob)));
  }, (error: Error) => void (message.value = error.message));
  return () => {
    isOver = true;
    show(null);
    URL.revokeObjectURL(made);
  };
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
