/** Pictures turned as EXIF's orientation says (1 to 8), and back. */

import type { FloatPicture } from "./field";

/** (height, width, 3) as stored -> as it should be seen. */
export function upright(picture: FloatPicture, orientation: number): FloatPicture {
  return turned(picture, orientation, false);
}

/** Undoes `upright`. */
export function asStored(picture: FloatPicture, orientation: number): FloatPicture {
  return turned(picture, orientation, true);
}

/** Whether width and height change places. */
export function isAcross(orientation: number): boolean {
  return orientation > 4;
}

/** Where the upright pixel (column, row) lies in the stored picture of this size. */
export function storedPlace(
  column: number, row: number, orientation: number, width: number, height: number,
): [number, number] {
  const [right, bottom] = [width - 1, height - 1];
  switch (orientation) {
    case 2: return [right - column, row];
    case 3: return [right - column, bottom - row];
    case 4: return [column, bottom - row];
    case 5: return [row, column];
    case 6: return [row, bottom - column];
    case 7: return [right - row, bottom - column];
    case 8: return [right - row, column];
    default: return [column, row];
  }
}

function turned(picture: FloatPicture, orientation: number, back: boolean): FloatPicture {
  if (orientation === 1) return picture;
  const across = isAcross(orientation);
  const result = {
    width: across ? picture.height : picture.width,
    height: across ? picture.width : picture.height,
    data: new Float32Array(picture.data.length),
  };
  const [stored, seen] = back ? [result, picture] : [picture, result];
  for (let row = 0; row < seen.height; row++) {
    for (let column = 0; column < seen.width; column++) {
      const [x, y] = storedPlace(column, row, orientation, stored.width, stored.height);
      const inside = 3 * (y * stored.width + x);
      const shown = 3 * (row * seen.width + column);
      const [from, to] = back ? [shown, inside] : [inside, shown];
      for (let channel = 0; channel < 3; channel++) result.data[to + channel] = picture.data[from + channel]!;
    }
  }
  return result;
}
