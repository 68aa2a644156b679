/** HEIC and HEIF, what phones write, decoded by libheif; the result is a JPEG with all that it says. */

import type { Picture } from "../restore/field";
import { joined, latin, startsWith, viewOf } from "./bytes";
import { NotHere, codec } from "./codecs";
import { uprightBlock } from "./exif";
import { orientedAs } from "./xmp";

/** The interface of C, as far as it is used: handles and addresses are numbers, errors 12 bytes at the first. */
interface Heif {
  HEAPU8: Uint8Array;
  _malloc(size: number): number;
  _free(place: number): void;
  _heif_context_alloc(): number;
  _heif_context_free(context: number): void;
  _heif_context_read_from_memory_without_copy(error: number, context: number, data: number, size: number, options: number): void;
  _heif_context_get_primary_image_handle(error: number, context: number, out: number): void;
  _heif_image_handle_release(handle: number): void;
  _heif_image_handle_has_alpha_channel(handle: number): number;
  _heif_image_handle_get_number_of_auxiliary_images(handle: number, filter: number): number;
  _heif_image_handle_get_color_profile_type(handle: number): number;
  _heif_image_handle_get_raw_color_profile_size(handle: number): number;
  _heif_image_handle_get_raw_color_profile(error: number, handle: number, out: number): void;
  _heif_image_handle_get_nclx_color_profile(error: number, handle: number, out: number): void;
  _heif_image_handle_get_number_of_metadata_blocks(handle: number, filter: number): number;
  _heif_image_handle_get_list_of_metadata_block_IDs(handle: number, filter: number, ids: number, count: number): number;
  _heif_image_handle_get_metadata_type(handle: number, id: number): number;
  _heif_image_handle_get_metadata_content_type(handle: number, id: number): number;
  _heif_image_handle_get_metadata_size(handle: number, id: number): number;
  _heif_image_handle_get_metadata(error: number, handle: number, id: number, out: number): void;
  _heif_decode_image(error: number, handle: number, out: number, space: number, chroma: number, options: number): void;
  _heif_image_get_width(image: number, channel: number): number;
  _heif_image_get_height(image: number, channel: number): number;
  _heif_image_get_plane_readonly(image: number, channel: number, stride: number): number;
  _heif_image_release(image: number): void;
}

const [RGB, RGBA, INTERLEAVED] = [1, 11, 10]; // heif_colorspace, heif_chroma, heif_channel
const NO_ALPHA = 2; // of the auxiliary images
const NCLX = 0x6e636c78;
// Primaries and transfers that are taken for sRGB (H.273).
const SRGB = { primaries: [1, 2], transfers: [1, 2, 6, 13] };
const BRANDS = ["heic", "heix", "heim", "heis", "mif1", "msf1", "hevc"];

/** `behind`: whether gain maps or depth follow the picture. */
export interface HeicPicture {
  picture: Picture;
  exif: Uint8Array<ArrayBuffer> | null;
  xmp: Uint8Array | null;
  profile: Uint8Array | null;
  alpha: boolean;
  behind: boolean;
}

export function isHeic(bytes: Uint8Array): boolean {
  return BRANDS.some((brand) => startsWith(bytes, `ftyp${brand}`, 4));
}

let loading: Promise<Heif> | null = null;

function library(): Promise<Heif> {
  loading ??= codec<{ default: () => Promise<Heif> | Heif }>("heif.mjs").then(async ({ default: start }) => start());
  loading.catch(() => (loading = null));
  return loading;
}

/** The primary picture; libheif turns it upright, whatever EXIF says. NotHere: see there. */
export async function readHeic(bytes: Uint8Array): Promise<HeicPicture> {
  const heif = await library();
  const context = heif._heif_context_alloc();
  const scratch = heif._malloc(64); // an error, and at 16 what a call returns
  const data = heif._malloc(bytes.length);
  try {
    const call = caller(heif, scratch);
    heif.HEAPU8.set(bytes, data);
    call((error) => heif._heif_context_read_from_memory_without_copy(error, context, data, bytes.length, 0));
    const handle = call((error, out) => heif._heif_context_get_primary_image_handle(error, context, out));
    const found = factsOf(heif, handle, call);
    const picture = decoded(heif, handle, call, scratch);
    heif._heif_image_handle_release(handle);
    return { picture, ...found };
  } finally {
    heif._heif_context_free(context);
    heif._free(data);
    heif._free(scratch);
  }
}

type Caller = (act: (error: number, out: number) => void) => number;

/** Calls what returns an error; gives the number that it has left at `out`. */
function caller(heif: Heif, scratch: number): Caller {
  return (act) => {
    act(scratch, scratch + 16);
    const view = viewOf(heif.HEAPU8);
    if (view.getUint32(scratch, true)) throw new Error(textAt(heif, view.getUint32(scratch + 8, true)));
    return view.getUint32(scratch + 16, true);
  };
}

function decoded(heif: Heif, handle: number, call: Caller, scratch: number): Picture {
  const image = call((error, out) => heif._heif_decode_image(error, handle, out, RGB, RGBA, 0));
  const width = heif._heif_image_get_width(image, INTERLEAVED);
  const height = heif._heif_image_get_height(image, INTERLEAVED);
  const plane = heif._heif_image_get_plane_readonly(image, INTERLEAVED, scratch + 16);
  const stride = viewOf(heif.HEAPU8).getUint32(scratch + 16, true);
  const data = new Uint8Array(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = plane + row * stride;
    data.set(heif.HEAPU8.subarray(from, from + 4 * width), 4 * width * row);
  }
  heif._heif_image_release(image);
  return { width, height, data };
}

function factsOf(heif: Heif, handle: number, call: Caller): Omit<HeicPicture, "picture"> {
  const bytesOf = (size: number, fill: (out: number) => void) => {
    const place = heif._malloc(size);
    fill(place);
    const copy = heif.HEAPU8.slice(place, place + size);
    heif._free(place);
    return copy;
  };
  const facts: Omit<HeicPicture, "picture"> = {
    exif: null, xmp: null, profile: null,
    alpha: heif._heif_image_handle_has_alpha_channel(handle) === 1,
    behind: heif._heif_image_handle_get_number_of_auxiliary_images(handle, NO_ALPHA) > 0,
  };
  const size = heif._heif_image_handle_get_raw_color_profile_size(handle);
  if (size) facts.profile = bytesOf(size, (out) => call((error) => heif._heif_image_handle_get_raw_color_profile(error, handle, out)));
  else if (heif._heif_image_handle_get_color_profile_type(handle) === NCLX) {
    const nclx = call((error, out) => heif._heif_image_handle_get_nclx_color_profile(error, handle, out));
    const view = viewOf(heif.HEAPU8);
    const [primaries, transfer] = [4, 8].map((each) => view.getUint32(nclx + each, true)) as [number, number];
    if (!SRGB.primaries.includes(primaries) || !SRGB.transfers.includes(transfer)) throw new NotHere("NeedsServer");
  }
  const count = heif._heif_image_handle_get_number_of_metadata_blocks(handle, 0);
  const ids = bytesOf(4 * count, (out) => void heif._heif_image_handle_get_list_of_metadata_block_IDs(handle, 0, out, count));
  for (let i = 0; i < count; i++) {
    const id = viewOf(ids).getUint32(4 * i, true);
    const length = heif._heif_image_handle_get_metadata_size(handle, id);
    const block = () => bytesOf(length, (out) => call((error) => heif._heif_image_handle_get_metadata(error, handle, id, out)));
    const kind = textAt(heif, heif._heif_image_handle_get_metadata_type(handle, id));
    const mime = textAt(heif, heif._heif_image_handle_get_metadata_content_type(handle, id));
    if (kind === "Exif" && length > 4) facts.exif = uprightBlock(withoutHead(block()));
    else if (mime === "application/rdf+xml") facts.xmp = orientedAs(block(), 1);
  }
  return facts;
}

/** HEIF says first where in its item the TIFF structure begins (ISO/IEC 23008-12, A.2.1). */
function withoutHead(item: Uint8Array): Uint8Array {
  const start = 4 + viewOf(item).getUint32(0);
  const block = item.subarray(start);
  return startsWith(block, "Exif\0\0") ? block.subarray(6) : block;
}

function textAt(heif: Heif, place: number): string {
  if (!place) return "";
  return new TextDecoder().decode(heif.HEAPU8.slice(place, heif.HEAPU8.indexOf(0, place)));
}

/** A JPEG file without a picture that says this: `withMetadata` takes from it. */
export function holderOf({ exif, xmp, profile }: { exif: Uint8Array | null; xmp: Uint8Array | null; profile: Uint8Array | null }): Uint8Array<ArrayBuffer> {
  const most = 65_533;
  const segment = (marker: number, sign: string, data: Uint8Array) => {
    const size = 2 + sign.length + data.length;
    return size > most + 2 ? new Uint8Array() : joined([Uint8Array.of(0xff, marker, size >> 8, size & 0xff), latin(sign), data]);
  };
  const room = most - 14;
  const pieces = Math.ceil((profile?.length ?? 0) / room);
  const parts = [
    ...(exif ? [segment(0xe1, "Exif\0\0", exif)] : []),
    ...(xmp ? [segment(0xe1, "http://ns.adobe.com/xap/1.0/\0", xmp)] : []),
    ...Array.from({ length: pieces }, (_, i) =>
      segment(0xe2, "ICC_PROFILE\0", joined([Uint8Array.of(i + 1, pieces), profile!.subarray(i * room, (i + 1) * room)]))),
  ];
  return joined([Uint8Array.of(0xff, 0xd8), ...parts, Uint8Array.of(0xff, 0xd9)]);
}
