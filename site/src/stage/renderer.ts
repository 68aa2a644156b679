/** Draws a photo and what models make of it by WebGL 2: strength, divider and zoom cost one frame. */

import { AS_MODEL, LIFT, balanceOf, isAlike, type Controls, type Places } from "../restore/controlling";
import type { Field, Picture } from "../restore/field";
import { LOOK, MIX, NoWebGl, Program } from "./shaders";

/** What a pane shows: a model's field, a picture that the server restored, or the photo as it is. */
export type Layer = { field: Field } | { picture: ImageBitmap } | null;

/** Pixels of the screen. `left`, `top`: where the photo's corner lies in each pane. */
export interface View {
  zoom: number;
  left: number;
  top: number;
}

export interface Frame {
  view: View;
  strength: number;
  controls: Controls;
  /** Share of the width of each pane left of which the photo is shown as it came. */
  split: number;
  layers: readonly string[];
  /** Pixels between panes. */
  gap: number;
}

/** Upright place -> stored place, both in [0, 1], for each EXIF orientation; columns first. */
const TURNS: Record<number, number[]> = {
  1: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  2: [-1, 0, 0, 0, 1, 0, 1, 0, 1],
  3: [-1, 0, 0, 0, -1, 0, 1, 1, 1],
  4: [1, 0, 0, 0, -1, 0, 0, 1, 1],
  5: [0, 1, 0, 1, 0, 0, 0, 0, 1],
  6: [0, -1, 0, 1, 0, 0, 0, 1, 1],
  7: [0, -1, 0, -1, 0, 0, 1, 1, 1],
  8: [0, 1, 0, -1, 0, 0, 1, 0, 1],
};

const LOOKED = { hazy: 0, gains: 1, offsets: 2, restored: 3, table: 4, places: 5 } as const;
const MIXED = { befores: 6, changes: 7, places: 8 } as const;
const SPARE = 9; // that no drawing relies on

const SHARP = 3; // zoom from which pixels are shown as squares

/** A layer on the card. `kind`: 1 by a field, 2 a picture. `guide`: for controls. `exact`: with controls. */
interface Drawn {
  kind: number;
  textures: WebGLTexture[];
  guide: { places: WebGLTexture; cast: number[] } | null;
  exact: { controls: Controls; textures: WebGLTexture[] } | null;
}

export class Renderer {
  private gl: WebGL2RenderingContext;
  private look: Program;
  private mix: Program;
  private photo: { hazy: WebGLTexture; table: WebGLTexture | null; turn: number[]; size: [number, number] } | null = null;
  private layers = new Map<string, Drawn>();
  /** What was seen at the last view, a pixel for each of the canvas; "" where it must be looked at anew. */
  private seen: { befores: WebGLTexture; changes: WebGLTexture; places: WebGLTexture; target: WebGLFramebuffer } | null = null;
  private seenSize = "";
  private seenAs = "";

  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true });
    if (!gl) throw new NoWebGl();
    if (!gl.getExtension("EXT_color_buffer_float") && !gl.getExtension("EXT_color_buffer_half_float")) throw new NoWebGl();
    this.gl = gl;
    this.look = new Program(gl, LOOK, LOOKED);
    this.mix = new Program(gl, MIX, MIXED);
    gl.bindVertexArray(gl.createVertexArray());
    gl.enable(gl.SCISSOR_TEST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  get limit(): number {
    return this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE) as number;
  }

  /** The photo as stored. `size`: upright, at full size. `table`: own colours to sRGB. */
  show(picture: Picture, orientation: number, size: [number, number], table: Uint8Array | null): void {
    const { gl } = this;
    this.clear();
    const hazy = this.texture(gl.TEXTURE_2D, gl.LINEAR_MIPMAP_NEAREST, gl.NEAREST);
    const samples = new Uint8Array(picture.data.buffer as ArrayBuffer, picture.data.byteOffset, picture.data.length);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, picture.width, picture.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, samples);
    gl.generateMipmap(gl.TEXTURE_2D);
    this.photo = { hazy, table: table && this.cube(table), turn: TURNS[orientation] ?? TURNS[1]!, size };
  }

  /** The photo as the server shows it. */
  showBitmap(bitmap: ImageBitmap, size: [number, number]): void {
    const { gl } = this;
    this.clear();
    this.photo = { hazy: this.bitmap(bitmap), table: null, turn: TURNS[1]!, size };
    gl.finish();
  }

  add(name: string, layer: Layer): void {
    this.drop(name);
    this.seenAs = "";
    if (!layer) return;
    const isPicture = "picture" in layer;
    const textures = isPicture ? [this.bitmap(layer.picture)] : this.maps(layer.field);
    this.layers.set(name, { kind: isPicture ? 2 : 1, textures, guide: null, exact: null });
  }

  /** What controls of a layer go by; until it is there they change nothing. */
  guide(name: string, { width, height, sky, shade, cast }: Places): void {
    const { gl } = this;
    const layer = this.layers.get(name);
    if (!layer) return;
    const shares = new Uint8Array(2 * sky.length);
    sky.forEach((each, i) => shares.set([255 * each, 255 * shade[i]!], 2 * i));
    const places = this.texture(gl.TEXTURE_2D, gl.LINEAR, gl.LINEAR);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG8, width, height, 0, gl.RG, gl.UNSIGNED_BYTE, shares);
    if (layer.guide) gl.deleteTexture(layer.guide.places);
    layer.guide = { places, cast };
    this.seenAs = "";
  }

  /** The field of a layer that was fitted with these controls: what is drawn while they are set. */
  refine(name: string, controls: Controls, field: Field): void {
    const layer = this.layers.get(name);
    if (!layer) return;
    for (const texture of layer.exact?.textures ?? []) this.gl.deleteTexture(texture);
    layer.exact = { controls, textures: this.maps(field) };
    this.seenAs = "";
  }

  private maps({ width, height, gains, offsets }: Field): WebGLTexture[] {
    const { gl } = this;
    return [gains, offsets].map((map) => {
      const texture = this.texture(gl.TEXTURE_2D, gl.LINEAR, gl.LINEAR);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB16F, width, height, 0, gl.RGB, gl.FLOAT, map);
      return texture;
    });
  }

  drop(name: string): void {
    const layer = this.layers.get(name);
    const all = [...(layer?.textures ?? []), ...(layer?.exact?.textures ?? []), layer?.guide?.places ?? null];
    for (const texture of all) this.gl.deleteTexture(texture);
    this.layers.delete(name);
  }

  clear(): void {
    for (const name of [...this.layers.keys()]) this.drop(name);
    if (this.photo) [this.photo.hazy, this.photo.table].forEach((each) => this.gl.deleteTexture(each));
    this.photo = null;
    this.seenAs = "";
  }

  /** Draws each layer into a pane of its own, side by side. */
  draw(frame: Frame): void {
    const { gl, canvas, photo } = this;
    const { view, strength, controls, split, layers, gap } = frame;
    const isEmpty = canvas.width * canvas.height === 0;
    if (!photo || isEmpty) return this.blank();
    const exact = layers.map((name) => this.isExact(name, controls));
    const looked = [view.zoom, view.left, view.top, gap, canvas.width, canvas.height, ...layers, ...exact].join(" ");
    if (looked !== this.seenAs) this.lookAt(frame, photo);
    this.seenAs = looked;
    this.blank();
    this.mix.use();
    this.bind(MIXED.befores, gl.TEXTURE_2D, this.seen!.befores);
    this.bind(MIXED.changes, gl.TEXTURE_2D, this.seen!.changes);
    this.bind(MIXED.places, gl.TEXTURE_2D, this.seen!.places);
    gl.uniform1f(this.mix.place("strength"), strength);
    const width = paneWidth(canvas.width, layers.length, gap);
    layers.forEach((name, i) => {
      const start = this.enterPane(i, width, gap);
      gl.uniform1f(this.mix.place("split"), start + split * width);
      const guide = this.layers.get(name)?.guide;
      const live = guide && !this.isExact(name, controls) ? controls : AS_MODEL;
      gl.uniform1f(this.mix.place("lift"), LIFT * live.lift_shadows);
      gl.uniform1f(this.mix.place("protect"), live.protect_sky);
      gl.uniform3fv(this.mix.place("balance"), guide ? balanceOf(guide.cast, live) : [1, 1, 1]);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  /** Whether a layer has a field of these controls. */
  private isExact(name: string, controls: Controls): boolean {
    const exact = this.layers.get(name)?.exact;
    return Boolean(exact && isAlike(exact.controls, controls));
  }

  private blank(): void {
    const { gl, canvas } = this;
    gl.scissor(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /** Samples photo and fields for each pixel of the canvas. */
  private lookAt({ view, controls, layers, gap }: Frame, photo: NonNullable<Renderer["photo"]>): void {
    const { gl, canvas } = this;
    this.seen = this.seenFor(canvas.width, canvas.height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.seen.target);
    this.blank();
    this.look.use();
    this.bind(LOOKED.hazy, gl.TEXTURE_2D, photo.hazy);
    this.bind(LOOKED.table, gl.TEXTURE_3D, photo.table);
    gl.uniform1i(this.look.place("hasTable"), photo.table ? 1 : 0);
    this.sharpen(view.zoom === 1 || view.zoom >= SHARP);
    gl.uniform1f(this.look.place("zoom"), view.zoom);
    gl.uniform2f(this.look.place("size"), ...photo.size);
    gl.uniformMatrix3fv(this.look.place("turn"), false, photo.turn);
    const width = paneWidth(canvas.width, layers.length, gap);
    layers.forEach((name, i) => {
      const start = this.enterPane(i, width, gap);
      const layer = this.layers.get(name);
      gl.uniform1i(this.look.place("kind"), layer?.kind ?? 0);
      gl.uniform2f(this.look.place("corner"), start + view.left, canvas.height - view.top);
      this.bind(LOOKED.places, gl.TEXTURE_2D, layer?.guide?.places ?? null);
      if (layer?.kind === 1) {
        const [gains, offsets] = this.isExact(name, controls) ? layer.exact!.textures : layer.textures;
        this.bind(LOOKED.gains, gl.TEXTURE_2D, gains!);
        this.bind(LOOKED.offsets, gl.TEXTURE_2D, offsets!);
      } else if (layer) this.bind(LOOKED.restored, gl.TEXTURE_2D, layer.textures[0]!);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  /** Bounds drawing to a pane; returns where it starts. */
  private enterPane(place: number, width: number, gap: number): number {
    const { gl, canvas } = this;
    const start = Math.round(place * (width + gap));
    gl.viewport(start, 0, Math.round(width), canvas.height);
    gl.scissor(start, 0, Math.round(width), canvas.height);
    return start;
  }

  /** The textures that hold what is seen, of this size. */
  private seenFor(width: number, height: number): NonNullable<Renderer["seen"]> {
    const { gl } = this;
    if (this.seen && this.seenSize === `${width} ${height}`) return this.seen;
    if (this.seen) [this.seen.befores, this.seen.changes, this.seen.places].forEach((each) => gl.deleteTexture(each));
    const target = this.seen?.target ?? gl.createFramebuffer()!;
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    const [befores, changes, places] = ([gl.RGBA8, gl.RGBA16F, gl.RG8] as const).map((format, i) => {
      const texture = this.texture(gl.TEXTURE_2D, gl.NEAREST, gl.NEAREST);
      gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, gl.TEXTURE_2D, texture, 0);
      return texture;
    });
    gl.drawBuffers([gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1, gl.COLOR_ATTACHMENT2]);
    this.seenSize = `${width} ${height}`;
    return { befores: befores!, changes: changes!, places: places!, target };
  }

  /** Whether pixels of the photo that are larger than the screen's have edges. */
  private sharpen(sharp: boolean): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + LOOKED.hazy);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, sharp ? gl.NEAREST : gl.LINEAR);
  }

  private bind(unit: number, target: number, texture: WebGLTexture | null): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(target, texture);
  }

  /** A new one, bound to the spare unit. */
  private texture(target: number, smaller: number, larger: number): WebGLTexture {
    const { gl } = this;
    const texture = gl.createTexture()!;
    gl.activeTexture(gl.TEXTURE0 + SPARE);
    gl.bindTexture(target, texture);
    gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, smaller);
    gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, larger);
    for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(target, axis, gl.CLAMP_TO_EDGE);
    return texture;
  }

  private bitmap(bitmap: ImageBitmap): WebGLTexture {
    const { gl } = this;
    const texture = this.texture(gl.TEXTURE_2D, gl.LINEAR_MIPMAP_NEAREST, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.generateMipmap(gl.TEXTURE_2D);
    return texture;
  }

  private cube(table: Uint8Array): WebGLTexture {
    const { gl } = this;
    const size = Math.round(Math.cbrt(table.length / 3));
    const texture = this.texture(gl.TEXTURE_3D, gl.LINEAR, gl.LINEAR);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.RGB8, size, size, size, 0, gl.RGB, gl.UNSIGNED_BYTE, table);
    return texture;
  }
}

export function paneWidth(width: number, count: number, gap: number): number {
  return (width - gap * (count - 1)) / Math.max(1, count);
}
