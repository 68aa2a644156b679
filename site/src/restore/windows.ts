/** Means over square windows, and the guided filter that is made of them (src/unhaze/filters.py). */

/** Means of (height, width, bands) over windows of 2 * radius + 1, of what of them lies inside. */
export function windowMeans(
  values: ArrayLike<number>, width: number, height: number, bands: number, radius: number,
): Float64Array {
  const line = width * bands;
  const sums = new Float64Array(line);
  const means = new Float64Array(line * height);
  const add = (row: number, sign: number) => {
    for (let i = 0, at = row * line; i < line; i++, at++) sums[i]! += sign * values[at]!;
  };
  for (let row = 0; row < Math.min(radius, height); row++) add(row, 1);
  for (let row = 0; row < height; row++) {
    if (row + radius < height) add(row + radius, 1);
    if (row > radius) add(row - radius - 1, -1);
    const rows = Math.min(row + radius + 1, height) - Math.max(row - radius, 0);
    for (let band = 0; band < bands; band++) {
      let sum = 0;
      for (let column = 0; column < Math.min(radius, width); column++) sum += sums[bands * column + band]!;
      for (let column = 0; column < width; column++) {
        if (column + radius < width) sum += sums[bands * (column + radius) + band]!;
        if (column > radius) sum -= sums[bands * (column - radius - 1) + band]!;
        const columns = Math.min(column + radius + 1, width) - Math.max(column - radius, 0);
        means[row * line + bands * column + band] = sum / (rows * columns);
      }
    }
  }
  return means;
}

/** `plane`, smoothed along the edges of `guide`: (height, width) both, in [0, 1]; `epsilon`: a variance. */
export function guidedFilter(
  guide: Float32Array, plane: Float32Array, width: number, height: number, radius: number, epsilon: number,
): Float32Array {
  const mean = (values: ArrayLike<number>) => windowMeans(values, width, height, 1, radius);
  const isOwn = guide === plane;
  const product = (one: Float32Array, other: Float32Array) => {
    const products = new Float32Array(one.length);
    for (let i = 0; i < products.length; i++) products[i] = one[i]! * other[i]!;
    return products;
  };
  const guides = mean(guide);
  const planes = isOwn ? guides : mean(plane);
  const squares = mean(product(guide, guide));
  const products = isOwn ? squares : mean(product(guide, plane));
  const slopes = new Float32Array(guide.length);
  const offsets = new Float32Array(guide.length);
  for (let i = 0; i < guide.length; i++) {
    const variance = Math.max(0, squares[i]! - guides[i]! ** 2);
    slopes[i] = (products[i]! - guides[i]! * planes[i]!) / (variance + epsilon);
    offsets[i] = planes[i]! - slopes[i]! * guides[i]!;
  }
  const [slope, offset] = [mean(slopes), mean(offsets)];
  const smooth = new Float32Array(guide.length);
  for (let i = 0; i < smooth.length; i++) smooth[i] = slope[i]! * guide[i]! + offset[i]!;
  return smooth;
}
