/** How the stage is looked at: zoom and place, shared by all panes; the divider. */

import { computed, signal } from "@preact/signals";
import type { View } from "../stage/renderer";

/** In pixels of the page. `fitted`: it follows the size of the stage. */
export interface Looking extends View {
  fitted: boolean;
}

export const looking = signal<Looking>({ zoom: 1, left: 0, top: 0, fitted: true });
export const split = signal(50); // percent
/** Sizes in pixels of the page: a pane of the stage, and the photo at 100 %. */
export const pane = signal({ width: 1, height: 1 });
export const photo = signal({ width: 1, height: 1 });
export const isFitted = computed(() => looking.value.fitted);
export const isFull = computed(() => !looking.value.fitted && Math.abs(looking.value.zoom - pixel()) < 1e-6);

const MOST = 8;

/** The zoom at which a pixel of the photo is one of the screen. */
export function pixel(): number {
  return 1 / devicePixelRatio;
}

export function fit(): void {
  const zoom = Math.min(pane.value.width / photo.value.width, pane.value.height / photo.value.height);
  looking.value = { ...centred(zoom), fitted: true };
}

export function fullSize(): void {
  zoomTo(pixel(), pane.value.width / 2, pane.value.height / 2);
}

/** Zooms so that what lies at (left, top) of a pane stays there. */
export function zoomTo(zoom: number, left: number, top: number): void {
  const smallest = Math.min(pane.value.width / photo.value.width, pane.value.height / photo.value.height);
  const bounded = Math.min(Math.max(zoom, Math.min(smallest, pixel())), MOST * pixel());
  const isWhole = bounded <= smallest * 1.0001 && smallest <= pixel();
  if (isWhole && zoom < looking.value.zoom) return fit();
  const now = looking.value;
  const share = bounded / now.zoom;
  move({ zoom: bounded, left: left - (left - now.left) * share, top: top - (top - now.top) * share, fitted: false });
}

export function zoomBy(factor: number, left = pane.value.width / 2, top = pane.value.height / 2): void {
  zoomTo(looking.value.zoom * factor, left, top);
}

export function moveBy(across: number, down: number): void {
  const now = looking.value;
  move({ ...now, left: now.left + across, top: now.top + down });
}

/** Keeps the photo in sight: centred where it is smaller than the pane, else without a gap. */
function move(wanted: Looking): void {
  const inside = (place: number, size: number, room: number) =>
    size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, place));
  looking.value = {
    ...wanted,
    left: inside(wanted.left, photo.value.width * wanted.zoom, pane.value.width),
    top: inside(wanted.top, photo.value.height * wanted.zoom, pane.value.height),
  };
}

function centred(zoom: number): View {
  return {
    zoom,
    left: (pane.value.width - photo.value.width * zoom) / 2,
    top: (pane.value.height - photo.value.height * zoom) / 2,
  };
}
