// How well regions cover what people drew: exactly the numbers of `regiontok.measures.covering`.

import { unpacked } from "./arrays.js";

/** What people drew of one photo, by patch. */
export class Truth {
  constructor(people, patches) {
    this.patches = patches;
    this.people = people.map((person) => ({
      regions: person.regions,
      patch: unpacked(person.patch),
      region: unpacked(person.region),
      pixels: unpacked(person.pixels),
    }));
  }

  get isKnown() {
    return this.people.length > 0;
  }

  /** The covering, 0 to 1: every drawn region by its best overlap, by area, over all people. */
  covering(partition) {
    let [covered, pixels] = [0, 0];
    for (const person of this.people) {
      const own = this.coveringOf(person, partition);
      covered += own.covered;
      pixels += own.pixels;
    }
    return pixels ? covered / pixels : 0;
  }

  coveringOf(person, partition) {
    const count = partition.count;
    const joint = new Float64Array((count + 1) * person.regions);
    const areas = new Float64Array(count + 1);
    const drawn = new Float64Array(person.regions);
    person.patch.forEach((patch, i) => {
      const label = patch < this.patches ? partition.labels[patch] : -1;
      const region = label < 0 ? count : label;
      const [own, pixels] = [person.region[i], person.pixels[i]];
      joint[region * person.regions + own] += pixels;
      areas[region] += pixels;
      drawn[own] += pixels;
    });
    const best = new Float64Array(person.regions);
    for (let region = 0; region < count; region++) {
      for (let own = 0; own < person.regions; own++) {
        const both = joint[region * person.regions + own];
        if (both) best[own] = Math.max(best[own], both / (areas[region] + drawn[own] - both));
      }
    }
    let [covered, pixels] = [0, 0];
    drawn.forEach((area, own) => {
      covered += area * best[own];
      pixels += area;
    });
    return { covered, pixels };
  }
}
