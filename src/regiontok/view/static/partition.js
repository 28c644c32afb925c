// The regions of one view at one moment: whose patch is whose, their sizes, and their order.

import { unpacked } from "./arrays.js";
import { neighbours } from "./tree.js";

/** k regions on a grid, numbered in the order in which the language model gets them. */
export class Partition {
  /**
   * @param labels the region that shows at each patch, -1 for none
   * @param members for each region its patches; null takes them from the labels
   * @param hues the hue of each region
   */
  constructor(labels, count, grid, hues, members = null) {
    Object.assign(this, { labels, count, grid, hues });
    this.ownMembers = members;
    this.sizes = new Int32Array(count);
    if (members)
      members.forEach((patches, region) => {
        this.sizes[region] = patches.length;
      });
    else for (const label of labels) if (label >= 0) this.sizes[label]++;
  }

  /** The patches of a region. */
  members(region) {
    if (this.ownMembers) return this.ownMembers[region] ?? [];
    const patches = [];
    for (let i = 0; i < this.labels.length; i++) if (this.labels[i] === region) patches.push(i);
    return patches;
  }

  /** Patches that lie in a region. */
  get covered() {
    return this.labels.reduce((sum, label) => sum + (label >= 0), 0);
  }

  /** All memberships: more than `covered` where regions overlap. */
  get rows() {
    return this.sizes.reduce((sum, size) => sum + size, 0);
  }

  /** The centre of each region in patches, (x, y) one after the other; of a clip, over all time. */
  get centres() {
    const [height, width] = this.grid.slice(-2);
    const sums = new Float64Array(2 * this.count);
    const add = (region, patch) => {
      const inner = patch % (height * width);
      sums[2 * region] += inner % width;
      sums[2 * region + 1] += Math.floor(inner / width);
    };
    if (this.ownMembers)
      this.ownMembers.forEach((own, region) => own.forEach((p) => add(region, p)));
    else
      this.labels.forEach((label, patch) => {
        if (label >= 0) add(label, patch);
      });
    return sums.map((sum, i) => sum / this.sizes[i >> 1]);
  }
}

/** The cut of a tree after so many merges, its regions in the tree's order. */
export function cutOf(tree, merges) {
  const roots = tree.roots(merges);
  const [labels, hues] = [tree.labels(merges, roots), tree.regionHues(merges, roots)];
  const places = tree.order.places(labels, hues.length, tree.grid);
  const ordered = new Array(hues.length);
  places.forEach((place, region) => {
    ordered[place] = hues[region];
  });
  for (let i = 0; i < labels.length; i++) if (labels[i] >= 0) labels[i] = places[labels[i]];
  return new Partition(labels, hues.length, tree.grid, ordered);
}

/** Regions as the server made them: they may overlap, and the smallest shows. */
export function fixedPartition(data, grid) {
  const [patch, region] = [unpacked(data.patch), unpacked(data.region)];
  const members = Array.from({ length: data.k }, () => []);
  region.forEach((number, i) => members[number].push(patch[i]));
  const labels = new Int32Array(grid.reduce((a, b) => a * b, 1)).fill(-1);
  const largestFirst = members
    .map((_, i) => i)
    .sort((a, b) => members[b].length - members[a].length);
  for (const number of largestFirst) for (const one of members[number]) labels[one] = number;
  const hues = greedyHues(labels, members, largestFirst, neighbours(grid));
  return new Partition(labels, data.k, grid, hues, members);
}

/** A hue of each region, the largest first, as far from its neighbours' as can be. */
function greedyHues(labels, members, largestFirst, touching) {
  const hues = new Array(members.length).fill(-1);
  for (const region of largestFirst) {
    const used = new Array(12).fill(0);
    for (const patch of members[region]) {
      for (const other of touching(patch)) {
        const hue = labels[other] >= 0 && labels[other] !== region ? hues[labels[other]] : -1;
        if (hue >= 0) used[hue]++;
      }
    }
    const least = Math.min(...used);
    const free = used.map((_, hue) => hue).filter((hue) => used[hue] === least);
    hues[region] = free[(region * 5) % free.length];
  }
  return hues;
}
