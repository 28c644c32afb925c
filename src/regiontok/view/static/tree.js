// The merge tree of one view: every cut of it is computed here, from the one run that was sent.

import { unpacked } from "./arrays.js";
import { Order } from "./order.js";

const HUE_COUNT = 12;

/** The merges of one view, in the order in which they were made. */
export class Tree {
  constructor(data, grid) {
    this.start = unpacked(data.start);
    this.pairs = unpacked(data.pairs);
    this.heights = unpacked(data.heights);
    this.one = data.one;
    this.order = new Order(data.order);
    this.grid = grid;
    this.merges = this.heights.length;
    this.most = this.start.reduce((sum, first, patch) => sum + (first === patch), 0);
    this.least = this.most - this.merges;
    this.lowest = lowestSoFar(this.heights);
    this.own = data.k === null ? this.mergesAt(data.threshold) : this.mergesFor(data.k);
    this.hues = huesOf(this);
  }

  /** How many merges leave k regions; k is moved into what can be. */
  mergesFor(k) {
    return this.most - Math.min(this.most, Math.max(this.least, k));
  }

  /** How many merges come before the first height below a threshold. */
  mergesAt(threshold) {
    let [low, high] = [0, this.merges];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lowest[middle] / this.one < threshold) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The threshold at which so many merges are made. */
  thresholdOf(merges) {
    return merges ? this.lowest[merges - 1] / this.one : 1;
  }

  /** The region of each patch after so many merges, by first patch, -1 for none. */
  labels(merges, roots = this.roots(merges)) {
    const numbers = new Int32Array(roots.length);
    const labels = new Int32Array(roots.length).fill(-1);
    let regions = 0;
    for (let patch = 0; patch < roots.length; patch++) {
      const first = this.start[patch];
      if (first < 0) continue;
      if (first === patch && roots[patch] === patch) numbers[patch] = regions++;
      labels[patch] = numbers[roots[first]];
    }
    return labels;
  }

  /** The first patch of each patch's region after so many merges. */
  roots(merges) {
    const roots = Int32Array.from(this.start, (_, patch) => patch);
    for (let i = 0; i < merges; i++) roots[this.pairs[2 * i + 1]] = this.pairs[2 * i];
    // the lower patch names the union, so one pass in raster order finds every root
    for (let patch = 0; patch < roots.length; patch++) roots[patch] = roots[roots[patch]];
    return roots;
  }

  /** The hue of each region after so many merges, in the order of `labels`. */
  regionHues(merges, roots = this.roots(merges)) {
    const hues = this.hues.slice(0, this.start.length);
    for (let i = 0; i < merges; i++) hues[this.pairs[2 * i]] = this.hues[this.start.length + i];
    const found = [];
    for (let patch = 0; patch < roots.length; patch++) {
      if (this.start[patch] === patch && roots[patch] === patch) found.push(hues[patch]);
    }
    return found;
  }
}

function lowestSoFar(heights) {
  const lowest = Int32Array.from(heights);
  for (let i = 1; i < lowest.length; i++) lowest[i] = Math.min(lowest[i], lowest[i - 1]);
  return lowest;
}

/**
 * A hue of every region that ever is: first those of the start by first patch, then those of the
 * merges. A union keeps the hue of its larger part, so that nothing flickers under the slider; the
 * smaller part has a hue that none of its neighbours had when it came apart.
 */
function huesOf(tree) {
  const patches = tree.start.length;
  const { children, range, order } = dendrogram(tree);
  const hues = new Uint8Array(patches + tree.merges);
  const owner = new Int32Array(patches).fill(-1);
  const hueOf = new Map();
  const touching = neighbours(tree.grid);
  for (let node = patches + tree.merges - 1; node >= 0; node--) {
    if (!range[2 * node + 1] || owner[order[range[2 * node]]] >= 0) continue;
    for (let i = 0; i < range[2 * node + 1]; i++) owner[order[range[2 * node] + i]] = node;
    hueOf.set(node, 0);
    hues[node] = 0;
  }
  for (let i = tree.merges - 1; i >= 0; i--) {
    const node = patches + i;
    const [a, b] = [children[2 * i], children[2 * i + 1]];
    const [large, small] = range[2 * a + 1] >= range[2 * b + 1] ? [a, b] : [b, a];
    const kept = owner[order[range[2 * large]]];
    hues[large] = hues[node];
    for (let j = 0; j < range[2 * small + 1]; j++) owner[order[range[2 * small] + j]] = small;
    hues[small] = freeHue(small, range, order, owner, hueOf, touching, hueOf.get(kept));
    hueOf.set(small, hues[small]);
  }
  return hues;
}

/** The children of every merge, and the patches of every node as a stretch of one order. */
function dendrogram(tree) {
  const patches = tree.start.length;
  const children = new Int32Array(2 * tree.merges);
  const range = new Int32Array(2 * (patches + tree.merges));
  const current = Int32Array.from(tree.start, (_, patch) => patch);
  const isChild = new Uint8Array(patches + tree.merges);
  for (const first of tree.start) if (first >= 0) range[2 * first + 1]++;
  for (let i = 0; i < tree.merges; i++) {
    const [a, b] = [current[tree.pairs[2 * i]], current[tree.pairs[2 * i + 1]]];
    children.set([a, b], 2 * i);
    isChild[a] = isChild[b] = 1;
    range[2 * (patches + i) + 1] = range[2 * a + 1] + range[2 * b + 1];
    current[tree.pairs[2 * i]] = patches + i;
  }
  let next = 0;
  for (let node = range.length / 2 - 1; node >= 0; node--) {
    if (!isChild[node]) {
      range[2 * node] = next;
      next += range[2 * node + 1];
    }
    if (node >= patches) {
      const [a, b] = [children[2 * (node - patches)], children[2 * (node - patches) + 1]];
      range[2 * a] = range[2 * node];
      range[2 * b] = range[2 * node] + range[2 * a + 1];
    }
  }
  const filled = new Int32Array(patches);
  const order = new Int32Array(patches);
  tree.start.forEach((first, patch) => {
    if (first >= 0) order[range[2 * first] + filled[first]++] = patch;
  });
  return { children, range, order };
}

function freeHue(node, range, order, owner, hueOf, touching, sibling) {
  const used = new Uint32Array(HUE_COUNT);
  for (let i = 0; i < range[2 * node + 1]; i++) {
    for (const other of touching(order[range[2 * node] + i])) {
      if (owner[other] >= 0 && owner[other] !== node) used[hueOf.get(owner[other])]++;
    }
  }
  used[sibling]++;
  let best = 0;
  let score = -Infinity;
  for (let hue = 0; hue < HUE_COUNT; hue++) {
    const away = Math.min(
      (hue - sibling + HUE_COUNT) % HUE_COUNT,
      (sibling - hue + HUE_COUNT) % HUE_COUNT,
    );
    const own =
      -1000 * used[hue] + Math.min(away, 3) + ((hue * 5 + node * 7) % HUE_COUNT) / HUE_COUNT;
    if (own > score) [best, score] = [hue, own];
  }
  return best;
}

/** A function that gives the patches that touch one, at sides and corners, or in time. */
export function neighbours(grid) {
  const [height, width] = grid.slice(-2);
  const frames = grid.length === 3 ? grid[0] : 1;
  const frame = height * width;
  return (patch) => {
    const [t, inner] = [Math.floor(patch / frame), patch % frame];
    const [y, x] = [Math.floor(inner / width), inner % width];
    const found = [];
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const [v, u] = [y + dy, x + dx];
        if ((dy || dx) && v >= 0 && v < height && u >= 0 && u < width) {
          found.push(t * frame + v * width + u);
        }
      }
    }
    if (t > 0) found.push(patch - frame);
    if (t + 1 < frames) found.push(patch + frame);
    return found;
  };
}
