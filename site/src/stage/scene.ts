/** What lies on the stage: fetches photo and fields for the renderer, and draws once a frame. */

import { controlsOf, fileOf, find, type Entry } from "../entries";
import { modelInfo } from "../models";
import { fieldOf, placesOf } from "../fields";
import { AS_MODEL, isAlike } from "../restore/controlling";
import * as server from "../server";
import { pictures } from "../workers";
import { Flat } from "./flat";
import { Renderer, type Frame } from "./renderer";
import { NoWebGl } from "./shaders";

export class Scene {
  /** The entry whose photo is shown. */
  private id: string | null = null;
  readonly isCoarse: boolean;
  private renderer: Renderer | Flat;
  private frame: Frame | null = null;
  private asked = 0;
  private shows = new Map<string, unknown>();
  /** The results whose controls can be followed. */
  private guided = new Map<string, unknown>();
  private size: { width: number; height: number } | null = null;
  private turn: Promise<unknown> = Promise.resolve();

  /** `lost`: called when the card has forgotten all, as phones' do behind another app, and is there again. */
  constructor(private canvas: HTMLCanvasElement, lost: () => void) {
    this.renderer = rendererFor(canvas);
    this.isCoarse = this.renderer instanceof Flat;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.renderer = rendererFor(canvas);
      this.id = null;
      lost();
    });
  }

  /** Fetches what is missing of an entry; its upright size, or null if another came between. */
  show(entry: Entry): Promise<{ width: number; height: number } | null> {
    const shown = this.turn.then(() => this.fetch(entry));
    this.turn = shown.catch(() => null);
    return shown;
  }

  private async fetch(entry: Entry): Promise<{ width: number; height: number } | null> {
    if (this.id !== entry.id) {
      this.id = null;
      this.renderer.clear();
      this.shows.clear();
      this.guided.clear();
      this.again(); // what was shown before goes, whatever comes
      this.size = await this.fetchPhoto(entry);
      if (!this.size) return null;
      this.id = entry.id;
      this.again();
    }
    for (const model of entry.models) {
      const result = entry.results[model];
      if (!result || this.shows.get(model) === result) continue;
      if (result.place === "server") {
        this.renderer.add(model, { picture: await createImageBitmap(await server.preview(entry, model, "restored")) });
      } else if (modelInfo(model)) this.renderer.add(model, { field: await fieldOf(entry, model, AS_MODEL) });
      this.shows.set(model, result);
      this.guided.delete(model);
    }
    if (!isAlike(controlsOf(entry), AS_MODEL)) await this.fetchControls(entry);
    return this.size;
  }

  /** Fetches what the controls of the entry that is shown need: first to follow them, then to be exact. */
  control(entry: Entry): Promise<void> {
    const done = this.turn.then(() => this.fetchControls(entry));
    this.turn = done.catch(() => null);
    return done;
  }

  private async fetchControls(entry: Entry): Promise<void> {
    const controls = controlsOf(entry);
    const there = entry.models.filter((model) => this.id === entry.id && this.shows.get(model) === entry.results[model]);
    for (const model of there) {
      const result = entry.results[model];
      if (!result) continue;
      const isHere = result.place === "browser";
      if (this.guided.get(model) !== result) {
        this.renderer.guide(model, isHere ? await placesOf(entry, model) : await server.placesOf(entry, model));
        this.guided.set(model, result);
        this.again();
      }
      const now = find(entry.id); // it may have been moved on while others had their turn
      if (!isHere || !now || !isAlike(controlsOf(now), controls) || isAlike(controls, AS_MODEL)) continue;
      this.renderer.refine(model, controls, await fieldOf(entry, model, controls));
      this.again();
    }
  }

  private async fetchPhoto(entry: Entry): Promise<{ width: number; height: number } | null> {
    try {
      const { picture, traits, table } = await pictures().show(fileOf(entry.id), this.renderer.limit);
      const across = traits.orientation > 4;
      const [width, height] = across ? [traits.height, traits.width] : [traits.width, traits.height];
      this.renderer.show(picture, traits.orientation, [width, height], table);
      return { width, height };
    } catch (error) {
      // What the browser cannot decode, the server shows.
      const remote = entry.models.find((model) => entry.results[model]?.place === "server");
      if (!remote) {
        if (entry.state === "failed" || entry.state === "done") throw error;
        return null;
      }
      const bitmap = await createImageBitmap(await server.preview(entry, remote, "hazy"));
      const { width, height } = entry;
      this.renderer.showBitmap(bitmap, [width, height]);
      return { width, height };
    }
  }

  resize(width: number, height: number): void {
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.again();
  }

  draw(frame: Frame): void {
    this.frame = frame;
    this.again();
  }

  /** Draws with the next frame of the screen. */
  again(): void {
    cancelAnimationFrame(this.asked);
    this.asked = requestAnimationFrame(() => {
      if (!this.frame) return;
      const { view, gap } = this.frame;
      const scale = devicePixelRatio;
      // Whole pixels of the screen: at 100 % each is one of the photo.
      const seen = { zoom: view.zoom * scale, left: Math.round(view.left * scale), top: Math.round(view.top * scale) };
      this.renderer.draw({ ...this.frame, view: seen, gap: gap * scale });
    });
  }

  end(): void {
    cancelAnimationFrame(this.asked);
    this.renderer.clear();
  }
}

function rendererFor(canvas: HTMLCanvasElement): Renderer | Flat {
  try {
    return new Renderer(canvas);
  } catch (error) {
    if (error instanceof NoWebGl) return new Flat(canvas);
    throw error;
  }
}
