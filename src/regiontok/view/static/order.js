// The order in which the language model gets the regions of a cut, as the steps behind it give it.

import { unpacked } from "./arrays.js";

/** The order of one merge tree: by what regions are sorted, and how they are shuffled then. */
export class Order {
  constructor({ by, shuffles, source, ranks }) {
    this.by = by;
    this.shuffles = shuffles.map(unpacked);
    if (by === "score") [this.source, this.ranks] = [unpacked(source), unpacked(ranks)];
  }

  /** The place of each region, numbered by first patch until now. */
  places(labels, count, grid) {
    let regions = Int32Array.from({ length: count }, (_, region) => region);
    const keys = this.keys(labels, count, grid);
    regions.sort((a, b) => {
      for (const key of keys) if (key[a] !== key[b]) return key[a] - key[b];
      return a - b;
    });
    for (const draws of this.shuffles) regions = shuffled(regions, draws);
    const places = new Int32Array(count);
    regions.forEach((region, place) => {
      places[region] = place;
    });
    return places;
  }

  /** What regions are sorted by: the first key, then the next one where it is equal. */
  keys(labels, count, grid) {
    if (this.by === "raster") return [];
    if (this.by === "score") return [this.ranksOf(labels, count)];
    const sizes = new Int32Array(count);
    const sums = grid.map(() => new Float64Array(count));
    const strides = grid.map((_, axis) => grid.slice(axis + 1).reduce((a, b) => a * b, 1));
    labels.forEach((label, patch) => {
      if (label < 0) return;
      sizes[label]++;
      strides.forEach((stride, axis) => {
        sums[axis][label] += Math.floor(patch / stride) % grid[axis];
      });
    });
    if (this.by === "area") return [sizes.map((size) => -size)];
    return sums.map((sum) => sum.map((value, region) => value / sizes[region]));
  }

  /** The rank of each region's mask; one that was merged of several masks is of none. */
  ranksOf(labels, count) {
    const sources = new Int32Array(count).fill(-2);
    labels.forEach((label, patch) => {
      if (label < 0) return;
      const own = this.source[patch];
      sources[label] = sources[label] === -2 || sources[label] === own ? own : -1;
    });
    return sources.map((source) => this.ranks.at(source));
  }
}

/**
 * What numpy's `permutation` makes of some numbers, from the 32-bit numbers that it draws: from the
 * last place down, each changes places with one up to it (Fisher and Yates). As many bits of a draw
 * count as that place has, and draws beyond it are passed over.
 */
function shuffled(numbers, draws) {
  const order = Int32Array.from(numbers, (_, i) => i);
  let next = 0;
  for (let i = order.length - 1; i > 0; i--) {
    const bits = 2 ** (32 - Math.clz32(i)) - 1;
    let other = draws[next++] & bits;
    while (other > i) other = draws[next++] & bits;
    [order[i], order[other]] = [order[other], order[i]];
  }
  return order.map((place) => numbers[place]);
}
