/** What lies over a pane: its divider, and what is to be seen on either side. */

import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { t } from "../i18n";
import { split } from "./view";

/** `name`: of what is right of the divider. `done`: whether there is anything but the photo as it came. */
export function Pane({ name, place, count, done }: { name: string; place: number; count: number; done: boolean }) {
  const pane = useRef<HTMLDivElement>(null);
  useEffect(() => effect(() => pane.current?.style.setProperty("--split", `${split.value}%`)), []);
  useEffect(() => {
    pane.current?.style.setProperty("--place", String(place));
    pane.current?.style.setProperty("--count", String(count));
  }, [place, count]);
  return (
    <div class={`pane${done ? "" : " pending"}`} ref={pane}>
      {done && <div class="line" aria-hidden="true"><span class="handle"><svg viewBox="0 0 24 24"><path d="m9 7-5 5 5 5m6-10 5 5-5 5" /></svg></span></div>}
      {done && <span class={`tag before${split.value < 15 ? " gone" : ""}`}>{t("before")}</span>}
      <span class={`tag after${split.value > 85 ? " gone" : ""}`}>{name}</span>
    </div>
  );
}

/** The divider for keys and screen readers. */
export function Split() {
  return (
    <input
      id="split" type="range" min="0" max="100" step="0.5" value={split.value} aria-label={t("border")}
      onInput={(event) => (split.value = Number(event.currentTarget.value))}
    />
  );
}
