/** Mouse, pen and fingers on the stage: move, zoom, and the divider. */

import { fit, fullSize, looking, moveBy, pane, photo, split, zoomBy } from "./view";

const GRIP = 28; // pixels around the divider that take hold of it

/** Listens on the stage; returns what stops that. `count`: panes side by side. */
export function follow(stage: HTMLElement, gap: number, count: () => number): () => void {
  const fingers = new Map<number, { left: number; top: number }>();
  let holds: "divider" | "photo" | null = null;
  let spread = 0;

  const inPane = (event: { clientX: number; clientY: number }) => {
    const box = stage.getBoundingClientRect();
    const step = pane.value.width + gap;
    const across = event.clientX - box.left;
    const index = Math.min(count() - 1, Math.max(0, Math.floor(across / step)));
    return { left: across - index * step, top: event.clientY - box.top };
  };
  const divide = (left: number) => (split.value = Math.min(100, Math.max(0, (100 * left) / pane.value.width)));
  const fills = () =>
    photo.value.width * looking.value.zoom > pane.value.width + 1 || photo.value.height * looking.value.zoom > pane.value.height + 1;

  const down = (event: PointerEvent) => {
    if (event.button > 0) return;
    const place = inPane(event);
    fingers.set(event.pointerId, { left: event.clientX, top: event.clientY });
    stage.setPointerCapture(event.pointerId);
    const border = (split.value / 100) * pane.value.width;
    holds = Math.abs(place.left - border) < GRIP || !fills() ? "divider" : "photo";
    if (holds === "divider") divide(place.left);
    if (fingers.size === 2) spread = distance();
  };
  const move = (event: PointerEvent) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const across = event.clientX - last.left;
    const down = event.clientY - last.top;
    fingers.set(event.pointerId, { left: event.clientX, top: event.clientY });
    if (fingers.size === 2) {
      const now = distance();
      const place = inPane(event);
      if (spread > 0) zoomBy(now / spread, place.left, place.top);
      moveBy(across / 2, down / 2);
      spread = now;
    } else if (holds === "divider") divide(inPane(event).left);
    else moveBy(across, down);
  };
  const up = (event: PointerEvent) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) holds = null;
  };
  const distance = () => {
    const [one, other] = [...fingers.values()];
    return one && other ? Math.hypot(one.left - other.left, one.top - other.top) : 0;
  };
  const wheel = (event: WheelEvent) => {
    event.preventDefault();
    const place = inPane(event);
    zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), place.left, place.top);
  };
  const twice = () => (looking.value.fitted ? fullSize() : fit());

  const controller = new AbortController();
  const options = { signal: controller.signal };
  stage.addEventListener("pointerdown", down, options);
  stage.addEventListener("pointermove", move, options);
  stage.addEventListener("pointerup", up, options);
  stage.addEventListener("pointercancel", up, options);
  stage.addEventListener("dblclick", twice, options);
  stage.addEventListener("wheel", wheel, { ...options, passive: false });
  return () => controller.abort();
}
