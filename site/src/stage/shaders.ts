/**
 * The two programs of the renderer: one looks at photo and field, the other mixes what was seen.
 *
 * Looking samples large textures, and is done anew where the view changes only. Mixing reads two samples a
 * pixel of the screen: that is all that a move of strength or divider costs.
 */

/** One triangle that covers the viewport. */
const VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0);
}`;

/**
 * `before`: the photo in sRGB, not premultiplied. `change`: what full strength adds to it, not bounded.
 *
 * `table` takes the photo's own colours to sRGB. It does so with none and with full strength; what lies between
 * is mixed, which in curves as alike as those of photos differs by parts of a level. `place`: how much it is sky
 * and shadow.
 */
export const LOOK = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler2D hazy, gains, offsets, restored, places;
uniform sampler3D table;
uniform vec2 corner, size;
uniform float zoom;
uniform int kind;
uniform bool hasTable;
uniform mat3 turn;
layout(location = 0) out vec4 before;
layout(location = 1) out vec4 change;
layout(location = 2) out vec4 place;

vec3 shown(vec3 own) {
  return hasTable ? texture(table, (own * 32.0 + 0.5) / 33.0).rgb : own;
}

void main() {
  before = vec4(0.0);
  change = vec4(0.0);
  place = vec4(0.0);
  vec2 seen = (gl_FragCoord.xy - corner) * vec2(1.0, -1.0) / (zoom * size);
  if (any(lessThan(seen, vec2(0.0))) || any(greaterThanEqual(seen, vec2(1.0)))) return;
  vec2 stored = (turn * vec3(seen, 1.0)).xy;
  vec4 own = texture(hazy, stored);
  before = vec4(shown(own.rgb), own.a);
  if (kind == 1) {
    vec3 after = own.rgb * texture(gains, stored).rgb + texture(offsets, stored).rgb;
    vec3 inside = clamp(after, 0.0, 1.0);
    change.rgb = shown(inside) + (after - inside) - before.rgb;
  }
  if (kind == 2) change.rgb = texture(restored, seen).rgb - before.rgb;
  place = texture(places, seen);
}`;

/** `balance`, `lift`, `protect`: what `controlled` of restore/controlling.ts does to the small picture. */
export const MIX = `#version 300 es
precision highp float;
uniform sampler2D befores, changes, places;
uniform float split, strength, lift, protect;
uniform vec3 balance;
out vec4 colour;

void main() {
  ivec2 place = ivec2(gl_FragCoord.xy);
  vec4 before = texelFetch(befores, place, 0);
  vec3 after = before.rgb;
  if (gl_FragCoord.x >= split) {
    vec3 full = (before.rgb + texelFetch(changes, place, 0).rgb) * balance;
    if (lift + protect > 0.0) {
      vec2 skyAndShade = texelFetch(places, place, 0).rg;
      full *= 1.0 + lift * skyAndShade.g * skyAndShade.g;
      full = mix(full, before.rgb, protect * skyAndShade.r);
    }
    after = clamp(mix(before.rgb, full, strength), 0.0, 1.0);
  }
  colour = vec4(after * before.a, before.a);
}`;

export class NoWebGl extends Error {}

/** A program in use, and where its uniforms are. */
export class Program {
  private places = new Map<string, WebGLUniformLocation | null>();
  private program: WebGLProgram;

  /** `units`: texture units of its samplers. NoWebGl: the card does not take it. */
  constructor(private gl: WebGL2RenderingContext, fragment: string, units: Record<string, number>) {
    this.program = gl.createProgram()!;
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS)) throw new NoWebGl(gl.getProgramInfoLog(this.program) ?? "");
    this.use();
    for (const [name, unit] of Object.entries(units)) gl.uniform1i(this.place(name), unit);
  }

  use(): void {
    this.gl.useProgram(this.program);
  }

  place(name: string): WebGLUniformLocation | null {
    if (!this.places.has(name)) this.places.set(name, this.gl.getUniformLocation(this.program, name));
    return this.places.get(name)!;
  }
}
