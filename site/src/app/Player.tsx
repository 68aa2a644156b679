/** Plays a video: its own controls would lie under the divider. */

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { number, t } from "../i18n";

const EVENTS = ["play", "pause", "timeupdate", "seeked", "loadedmetadata", "volumechange"] as const;

export function Player({ video }: { video: RefObject<HTMLVideoElement | null> }) {
  const [, setTold] = useState(0); // that something has changed
  useEffect(() => {
    const clip = video.current!;
    const told = () => setTold((count) => count + 1);
    for (const each of EVENTS) clip.addEventListener(each, told);
    told(); // what it may have told before
    return () => EVENTS.forEach((each) => clip.removeEventListener(each, told));
  }, []);
  const clip = video.current;
  const duration = clip && Number.isFinite(clip.duration) ? clip.duration : 0;
  const seconds = clip?.currentTime ?? 0;
  const isPlaying = Boolean(clip && !clip.paused);
  return (
    <div class="player" dir="ltr">
      <button id="play" type="button" aria-label={t(isPlaying ? "pause" : "play")} onClick={() => void (isPlaying ? clip?.pause() : clip?.play())}>
        <svg viewBox="0 0 16 16" aria-hidden="true"><path d={isPlaying ? "M4 3h3v10H4zM9 3h3v10H9z" : "M4 2.5v11l9-5.5z"} /></svg>
      </button>
      <input
        id="position" type="range" min="0" max={duration || 1} step="0.01" value={seconds} disabled={!duration} aria-label={t("position")}
        aria-valuetext={`${number(seconds, { maximumFractionDigits: 1 })} s`}
        onInput={(event) => clip && (clip.currentTime = Number(event.currentTarget.value))}
      />
      <button id="sound" type="button" aria-label={t("sound")} aria-pressed={!clip?.muted} onClick={() => clip && (clip.muted = !clip.muted)}>
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M2 6h3l4-3v10l-4-3H2z" />
          {clip?.muted ? <path class="stroke" d="m11 6 4 4m0-4-4 4" /> : <path class="stroke" d="M11 5.5a3.5 3.5 0 0 1 0 5m1.5-7a6 6 0 0 1 0 9" />}
        </svg>
      </button>
    </div>
  );
}
