/** Draws without WebGL: photo and result as two pictures, the result laid over it by its strength. */

import { isAlike, type Controls, type Places } from "../restore/controlling";
import { applyField, type Field, type Picture } from "../restore/field";
import { paneWidth, type Frame, type Layer } from "./renderer";

export class Flat {
  readonly limit = 1600;
  private context: CanvasRenderingContext2D;
  private picture: Picture | null = null;
  private orientation = 1;
  private size: [number, number] = [1, 1];
  private hazy: CanvasImageSource | null = null;
  private layers = new Map<string, CanvasImageSource>();
  private refined = new Map<string, { controls: Controls; picture: CanvasImageSource }>();

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d")!;
  }

  show(picture: Picture, orientation: number, size: [number, number], _table: Uint8Array | null): void {
    this.clear();
    this.picture = picture;
    this.orientation = orientation;
    this.size = size;
    this.hazy = this.canvasOf(picture);
  }

  showBitmap(bitmap: ImageBitmap, size: [number, number]): void {
    this.clear();
    this.hazy = bitmap;
    this.size = size;
  }

  add(name: string, layer: Layer): void {
    if (!layer) return;
    if ("picture" in layer) this.layers.set(name, layer.picture);
    else if (this.picture) this.layers.set(name, this.canvasOf(applyField(layer.field, this.picture)));
  }

  /** Without a card's speed controls are seen when they rest. */
  guide(_name: string, _places: Places): void {}

  refine(name: string, controls: Controls, field: Field): void {
    if (this.picture) this.refined.set(name, { controls, picture: this.canvasOf(applyField(field, this.picture)) });
  }

  clear(): void {
    this.layers.clear();
    this.refined.clear();
    this.hazy = this.picture = null;
  }

  draw({ view, strength, controls, split, layers, gap }: Frame): void {
    const { context, canvas, hazy, size } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!hazy) return;
    const width = paneWidth(canvas.width, layers.length, gap);
    layers.forEach((name, i) => {
      const start = i * (width + gap);
      const paint = (source: CanvasImageSource, left: number, alpha: number) => {
        context.save();
        context.beginPath();
        context.rect(left, 0, start + width - left, canvas.height);
        context.clip();
        context.globalAlpha = alpha;
        context.drawImage(source, start + view.left, view.top, size[0] * view.zoom, size[1] * view.zoom);
        context.restore();
      };
      paint(hazy, start, 1);
      const refined = this.refined.get(name);
      const layer = refined && isAlike(refined.controls, controls) ? refined.picture : this.layers.get(name);
      if (layer) paint(layer, start + split * width, strength);
    });
  }

  /** Upright. */
  private canvasOf({ width, height, data }: Picture): HTMLCanvasElement {
    const stored = document.createElement("canvas");
    [stored.width, stored.height] = [width, height];
    const samples = new Uint8ClampedArray(data.buffer as ArrayBuffer, data.byteOffset, data.length);
    stored.getContext("2d")!.putImageData(new ImageData(samples, width, height), 0, 0);
    if (this.orientation === 1) return stored;
    const across = this.orientation > 4;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = across ? [height, width] : [width, height];
    const context = canvas.getContext("2d")!;
    context.setTransform(new DOMMatrix(MATRICES[this.orientation]!(width, height)));
    context.drawImage(stored, 0, 0);
    return canvas;
  }
}

/** Stored place -> upright place, for the size of the stored picture. */
const MATRICES: Record<number, (width: number, height: number) => number[]> = {
  2: (width) => [-1, 0, 0, 1, width, 0],
  3: (width, height) => [-1, 0, 0, -1, width, height],
  4: (_, height) => [1, 0, 0, -1, 0, height],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (_, height) => [0, 1, -1, 0, height, 0],
  7: (width, height) => [0, -1, -1, 0, height, width],
  8: (width) => [0, -1, 1, 0, 0, width],
};
