/** Draws a photo and what models make of it by WebGL 2: strength, divider and zoom cost one frame. */

import type { Field, Picture } from "../restore/field";

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
  /** Share of the width of each pane left of which the photo is shown as it came. */
  split: number;
  layers: readonly string[];
  /** Pixels between panes. */
  gap: number;
}

const VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler2D hazy, gains, offsets, restored;
uniform sampler3D table;
uniform vec2 corner, size;
uniform float zoom, split, strength;
uniform int kind;
uniform bool hasTable;
uniform mat3 turn;
out vec4 colour;

void main() {
  vec2 place = (gl_FragCoord.xy - corner) * vec2(1.0, -1.0);
  vec2 seen = place / (zoom * size);
  if (any(lessThan(seen, vec2(0.0))) || any(greaterThanEqual(seen, vec2(1.0)))) {
    colour = vec4(0.0);
    return;
  }
  vec2 stored = (turn * vec3(seen, 1.0)).xy;
  vec4 before = texture(hazy, stored);
  vec3 after = before.rgb;
  if (gl_FragCoord.x >= split) {
    if (kind == 1) after = before.rgb + strength * (before.rgb * (texture(gains, stored).rgb - 1.0) + texture(offsets, stored).rgb);
    if (kind == 2) after = mix(before.rgb, texture(restored, seen).rgb, strength);
  }
  after = clamp(after, 0.0, 1.0);
  if (hasTable && kind != 2) after = texture(table, (after * 32.0 + 0.5) / 33.0).rgb;
  colour = vec4(after * before.a, before.a);
}`;

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

const UNITS = { hazy: 0, gains: 1, offsets: 2, restored: 3, table: 4 } as const;

const SHARP = 3; // zoom from which pixels are shown as squares

export class NoWebGl extends Error {}

export class Renderer {
  private gl: WebGL2RenderingContext;
  private program: WebGLProgram;
  private places = new Map<string, WebGLUniformLocation | null>();
  private photo: { hazy: WebGLTexture; table: WebGLTexture | null; turn: number[]; size: [number, number] } | null = null;
  private layers = new Map<string, { kind: number; textures: WebGLTexture[] }>();

  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true });
    if (!gl) throw new NoWebGl();
    this.gl = gl;
    this.program = programOf(gl);
    gl.useProgram(this.program);
    gl.bindVertexArray(gl.createVertexArray());
    for (const [name, unit] of Object.entries(UNITS)) gl.uniform1i(this.place(name), unit);
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
    if (!layer) return;
    if ("picture" in layer) this.layers.set(name, { kind: 2, textures: [this.bitmap(layer.picture)] });
    else {
      const { width, height, gains, offsets } = layer.field;
      const textures = [gains, offsets].map((map) => {
        const { gl } = this;
        const texture = this.texture(gl.TEXTURE_2D, gl.LINEAR, gl.LINEAR);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB16F, width, height, 0, gl.RGB, gl.FLOAT, map);
        return texture;
      });
      this.layers.set(name, { kind: 1, textures });
    }
  }

  has(name: string): boolean {
    return this.layers.has(name);
  }

  drop(name: string): void {
    for (const texture of this.layers.get(name)?.textures ?? []) this.gl.deleteTexture(texture);
    this.layers.delete(name);
  }

  clear(): void {
    for (const name of [...this.layers.keys()]) this.drop(name);
    if (this.photo) [this.photo.hazy, this.photo.table].forEach((each) => this.gl.deleteTexture(each));
    this.photo = null;
  }

  /** Draws each layer into a pane of its own, side by side. */
  draw({ view, strength, split, layers, gap }: Frame): void {
    const { gl, canvas, photo } = this;
    gl.scissor(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!photo) return;
    const width = paneWidth(canvas.width, layers.length, gap);
    this.bind(UNITS.hazy, gl.TEXTURE_2D, photo.hazy);
    this.bind(UNITS.table, gl.TEXTURE_3D, photo.table);
    this.sharpen(view.zoom === 1 || view.zoom >= SHARP);
    gl.uniform1i(this.place("hasTable"), photo.table ? 1 : 0);
    gl.uniform1f(this.place("zoom"), view.zoom);
    gl.uniform1f(this.place("strength"), strength);
    gl.uniform2f(this.place("size"), ...photo.size);
    gl.uniformMatrix3fv(this.place("turn"), false, photo.turn);
    layers.forEach((name, i) => {
      const start = Math.round(i * (width + gap));
      const layer = this.layers.get(name);
      gl.viewport(start, 0, Math.round(width), canvas.height);
      gl.scissor(start, 0, Math.round(width), canvas.height);
      gl.uniform1i(this.place("kind"), layer?.kind ?? 0);
      gl.uniform2f(this.place("corner"), start + view.left, canvas.height - view.top);
      gl.uniform1f(this.place("split"), start + split * width);
      if (layer?.kind === 1) {
        this.bind(UNITS.gains, gl.TEXTURE_2D, layer.textures[0]!);
        this.bind(UNITS.offsets, gl.TEXTURE_2D, layer.textures[1]!);
      } else if (layer) this.bind(UNITS.restored, gl.TEXTURE_2D, layer.textures[0]!);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  /** Whether pixels of the photo that are larger than the screen's have edges. */
  private sharpen(sharp: boolean): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + UNITS.hazy);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, sharp ? gl.NEAREST : gl.LINEAR);
  }

  private place(name: string): WebGLUniformLocation | null {
    if (!this.places.has(name)) this.places.set(name, this.gl.getUniformLocation(this.program, name));
    return this.places.get(name)!;
  }

  private bind(unit: number, target: number, texture: WebGLTexture | null): void {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(target, texture);
  }

  /** A new one, bound to a unit that no drawing relies on. */
  private texture(target: number, smaller: number, larger: number): WebGLTexture {
    const { gl } = this;
    const texture = gl.createTexture()!;
    gl.activeTexture(gl.TEXTURE7);
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

function programOf(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new NoWebGl(gl.getProgramInfoLog(program) ?? "");
  return program;
}
