/** The stage: the photo before and after, one pane for each model, moved and zoomed together. */

import { useEffect, useRef, useState } from "preact/hooks";
import { effect } from "@preact/signals";
import { controlsOf, shown, type Entry } from "../entries";
import { t } from "../i18n";
import { message } from "../taking";
import { AS_MODEL, isAlike } from "../restore/controlling";
import { paneWidth } from "../stage/renderer";
import { Scene } from "../stage/scene";
import { follow } from "./gestures";
import { fit, fullSize, looking, moveBy, pane, photo, split, zoomBy } from "./view";
import { Clip } from "./Clip";
import { Pane, Split } from "./Pane";
import { unfolded } from "./Sliders";

const GAP = 8;
const REST = 150; // milliseconds after which a slider that has not moved rests
const KEYS: Record<string, () => void> = {
  ArrowLeft: () => moveBy(60, 0),
  ArrowRight: () => moveBy(-60, 0),
  ArrowUp: () => moveBy(0, 60),
  ArrowDown: () => moveBy(0, -60),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  "0": fit,
  "1": fullSize,
};

export function Stage({ entry }: { entry: Entry }) {
  if (entry.video) return <Clip entry={entry} />;
  return <Panes entry={entry} />;
}

function Panes({ entry }: { entry: Entry }) {
  const stage = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const scene = useRef<Scene | null>(null);
  const fittedPhoto = useRef("");
  const [isReady, setReady] = useState(false);
  const [exact, setExact] = useState("");
  const [losses, setLosses] = useState(0);
  const count = entry.models.length;

  useEffect(() => {
    const made = new Scene(canvas.current!, () => setLosses((count) => count + 1));
    scene.current = made;
    if (made.isCoarse) message.value = t("noWebGl");
    const stopFollowing = follow(stage.current!, GAP, () => shown.value?.models.length ?? 1);
    const stopDrawing = effect(() => {
      const now = shown.value;
      if (now) made.draw({ view: looking.value, strength: now.strength, controls: controlsOf(now), split: split.value / 100, layers: now.models, gap: GAP });
    });
    return () => (stopDrawing(), stopFollowing(), made.end());
  }, []);

  useEffect(() => {
    const resized = () => {
      if (!stage.current || !scene.current) return;
      const { clientWidth, clientHeight } = stage.current;
      pane.value = { width: paneWidth(clientWidth, count, GAP), height: clientHeight };
      scene.current.resize(clientWidth, clientHeight);
      if (looking.value.fitted) fit();
      else moveBy(0, 0);
    };
    resized();
    const observer = new ResizeObserver(resized);
    observer.observe(stage.current!);
    return () => observer.disconnect();
  }, [count]);

  const results = entry.models.filter((model) => entry.results[model]).join();
  useEffect(() => {
    let isCurrent = true; // what comes after newer results have been asked for must not undo the view
    setReady(false);
    scene.current!.show(entry).then((size) => {
      if (!size || !isCurrent || shown.value?.id !== entry.id) return;
      photo.value = size;
      if (fittedPhoto.current !== entry.id) fit();
      fittedPhoto.current = entry.id;
      setReady(true);
      scene.current?.again();
    }, (error: Error) => {
      // Of a file that failed, the facts say why.
      if (isCurrent && shown.value?.state !== "failed") message.value = error.message;
    });
    return () => void (isCurrent = false);
  }, [entry.id, results, count, losses]);

  const controls = controlsOf(entry);
  const wishes = Object.values(controls).join();
  const isControlled = unfolded.value || !isAlike(controls, AS_MODEL);
  useEffect(() => {
    if (!isReady || !isControlled) return;
    const resting = setTimeout(() => {
      scene.current!.control(entry).then(() => setExact(wishes), (error: Error) => (message.value = error.message));
    }, REST);
    return () => clearTimeout(resting);
  }, [entry.id, results, isReady, isControlled, wishes]);

  const waits = entry.state === "working" || entry.state === "waiting" || !isReady;
  return (
    <div
      id="stage" ref={stage} dir="ltr" tabIndex={0} role="group" aria-label={t("stage")}
      class={entry.state === "failed" && entry.error !== "cancelled" ? "failed" : waits ? "waits" : ""} data-ready={isReady ? results : ""}
      data-exact={exact === wishes ? exact : ""}
      onKeyDown={(event) => {
        if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey) return;
        const act = KEYS[event.key];
        if (act) (event.preventDefault(), act());
      }}
    >
      <canvas id="picture" ref={canvas} />
      {entry.models.map((model, i) => {
        const done = Boolean(entry.results[model]);
        return <Pane key={model} name={count > 1 ? model : t(done ? "after" : "before")} place={i} count={count} done={done} />;
      })}
      <Split />
    </div>
  );
}
