/** XMP packets: only what they say of orientation is ever changed. */

/** The packet, in which the picture has this orientation. */
export function orientedAs(packet: Uint8Array, orientation: number): Uint8Array {
  const text = new TextDecoder("latin1").decode(packet);
  const changed = text.replace(/(tiff:Orientation\s*(?:=\s*["']|>)\s*)[1-8]/g, `$1${orientation}`);
  if (changed === text) return packet;
  const copy = packet.slice();
  for (let at = 0; at < copy.length; at++) if (changed[at] !== text[at]) copy[at] = changed.charCodeAt(at);
  return copy;
}
