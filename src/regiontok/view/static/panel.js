// One panel: the photo under what one setting makes of it.

import { ask, askBytes, embeddedBudget, isOneFile } from "./ask.js";
import { halves, unpacked } from "./arrays.js";
import { extent } from "./colours.js";
import { count, counted, make, patchesText, percent } from "./dom.js";
import { drawPanel } from "./draw_panel.js";
import { cosinesTo, meanRow, nameOf, norm } from "./features.js";
import { Layout } from "./geometry.js";
import { maskPicture } from "./paint.js";
import { cutOf, fixedPartition } from "./partition.js";
import { Tree } from "./tree.js";
import { Truth } from "./truth.js";

/** A panel of a photo page. `page` holds what all panels share: layer, zoom, point, budget. */
export class Panel {
  constructor(page, number, label) {
    Object.assign(this, { page, number, label });
    this.path = `items/${page.item.number}/panels/${number}`;
    this.data = this.tree = this.partition = this.cosines = null;
    this.canvas = make("canvas", {
      tabindex: 0,
      role: "img",
      "aria-label": `${label.regions}: photo with its regions`,
    });
    this.note = make("p", { class: "loading" }, "Encoding the photo …");
    this.number_ = make("b", {}, "–");
    this.figures = make("span", { class: "figures" });
    this.readout = make("p", { class: "readout", "aria-live": "polite" });
    const parts = [label.view, label.encoder, label.layer && `layer ${label.layer}`, label.transforms];
    this.element = make(
      "section",
      { class: "panel", "aria-label": label.regions },
      make("h2", { title: label.regions }, label.regions),
      make("p", { class: "made-of" }, parts.filter(Boolean).join(" · ") || " "),
      make("div", { class: "stage" }, this.canvas, this.note),
      make("p", { class: "tokens" }, this.number_, " ", this.figures),
      this.readout,
    );
    this.overlay = new OffscreenCanvas(1, 1);
  }

  /** Ask for the panel; what goes wrong stands in its place. */
  async load() {
    try {
      this.take(await ask(this.path));
      this.note.remove();
    } catch (error) {
      this.note.textContent = error.message;
      this.note.classList.add("failed");
    }
  }

  take(data) {
    this.data = data;
    this.layout = new Layout(data.grid, data.frame);
    this.patches = this.layout.rows * this.layout.columns;
    this.tree = data.tree ? new Tree(data.tree, data.grid) : null;
    this.truth = new Truth(
      data.truth,
      data.grid.reduce((a, b) => a * b, 1),
    );
    this.masks = data.masks ? maskPicture(data.masks) : null;
    this.maps = null;
    this.setPartition(
      this.tree ? cutOf(this.tree, this.tree.own) : fixedPartition(data.fixed, data.grid),
    );
  }

  /** Show the regions of a budget: {own}, {k} or {threshold}. */
  cut(budget) {
    if (!this.data) return;
    if (this.tree) {
      const merges =
        budget.k !== undefined
          ? this.tree.mergesFor(budget.k)
          : budget.threshold !== undefined
            ? this.tree.mergesAt(budget.threshold)
            : this.tree.own;
      if (merges !== this.merges) this.setPartition(cutOf(this.tree, merges));
      this.merges = merges;
    } else if (this.data.follows) this.follow(budget.k ?? this.page.budget.k);
  }

  /** Have the regions made for k, where the slider has rested for a moment. */
  follow(k) {
    clearTimeout(this.waiting);
    const asked = isOneFile ? embeddedBudget(this.path, k) : k;
    if (asked === undefined || asked === this.followed) return;
    this.waiting = setTimeout(
      async () => {
        this.asking?.abort();
        this.asking = new AbortController();
        this.element.classList.add("waiting");
        try {
          const data = await ask(`${this.path}/at/${asked}`, this.asking.signal);
          this.followed = asked;
          this.setPartition(fixedPartition(data.fixed, data.grid));
          this.page.draw();
        } catch (error) {
          if (error.name !== "AbortError") this.readout.textContent = error.message;
        }
        this.element.classList.remove("waiting");
      },
      isOneFile ? 0 : 120,
    );
  }

  setPartition(partition) {
    this.partition = partition;
    this.lines = null;
    this.cosines = null;
    this.recolour();
    this.tell();
  }

  /** Say how many tokens there are, and how well they follow what people drew. */
  tell() {
    const { partition, data } = this;
    const tokens = this.tokenCount;
    this.number_.textContent = count(tokens);
    const all = data.grid.reduce((a, b) => a * b, 1);
    const parts = [
      `${tokens === 1 ? "token" : "tokens"}, ${percent(tokens / all)} of ${patchesText(all)}`,
    ];
    if (tokens !== partition.count) parts.push(counted(partition.count, "region"));
    if (this.truth.isKnown) parts.push(`covering ${this.truth.covering(partition).toFixed(3)}`);
    this.figures.textContent = parts.join(" · ");
  }

  /** How many tokens the language model gets. */
  get tokenCount() {
    if (this.data.counted) return this.data.counted;
    return this.data.tokens === "patches" ? this.partition.rows : this.partition.count;
  }

  /** The region under a point of the photo (in shares of its sides) at the page's frame, or -1. */
  regionAt(point) {
    const patch = this.patchAt(point);
    return patch < 0 ? -1 : this.partition.labels[patch];
  }

  patchAt(point) {
    if (!point || !this.data) return -1;
    const patch = this.layout.patchAt(
      point.x * this.layout.photo.width,
      point.y * this.layout.photo.height,
    );
    return patch < 0 ? -1 : this.start + patch;
  }

  /** Where the patches of the page's frame begin. */
  get start() {
    return this.data.grid.length === 3 ? this.page.frame * this.patches : 0;
  }

  /** Colour by cosine to the region under the pinned point, if there is one. */
  async recolour() {
    const region = this.page.pin ? this.regionAt(this.page.pin) : -1;
    this.cosines = this.given ?? null;
    if (this.given || region < 0) return;
    if (!this.features) {
      if (!this.data.pca || this.failed) return;
      try {
        this.loadingFeatures ??= askBytes(`${this.path}/features`).then(halves);
        this.features = await this.loadingFeatures;
      } catch {
        this.failed = true;
        return;
      }
      this.recolour();
      this.page.draw();
      return;
    }
    const mean = meanRow(this.features, this.data.width, this.partition.members(region));
    this.cosines = cosinesTo(mean, this.features, this.data.width, this.partition);
  }

  /** Load what names regions, once somebody points at one. */
  async prepareWords() {
    if (this.prepared || !this.data?.pca) return;
    this.prepared = true;
    try {
      this.loadingFeatures ??= askBytes(`${this.path}/features`).then(halves);
      this.features = await this.loadingFeatures;
      if (this.data.classes) {
        const [logits, classes] = await Promise.all([
          askBytes(`${this.path}/logits`).then(halves),
          ask(`classes/${this.data.setting}`),
        ]);
        this.naming = { logits, classes };
      }
      this.page.draw();
    } catch {
      /* a region is shown without them */
    }
  }

  /** What is known of the region under the pointer, or under the pin. */
  describe() {
    const { partition, page } = this;
    if (!this.data) return;
    if (page.layer === "masks" && this.masks) {
      this.readout.textContent = this.maskText(page.point ?? page.pin);
      return;
    }
    const region = this.regionAt(page.point ?? page.pin);
    if (region < 0) {
      this.readout.textContent = page.point ? "No region here." : "";
      return;
    }
    const members = partition.members(region);
    const parts = [
      `Region ${region}`,
      `${counted(this.data.tokens === "patches" ? members.length : 1, "token")}`,
      `${patchesText(members.length)} (${percent(members.length / partition.labels.length)})`,
    ];
    if (this.data.names?.[region]) parts.push(this.data.names[region]);
    if (page.isSliding) return this.readout.replaceChildren(parts.join(" · "));
    if (this.naming) {
      const { name, share } = nameOf(this.naming.logits, this.naming.classes, members);
      parts.push(`${name} (${percent(share)})`);
    }
    if (this.features)
      parts.push(`norm ${norm(meanRow(this.features, this.data.width, members)).toPrecision(3)}`);
    if (this.given) parts.push(`${percent(this.given[region] * members.length)} of all attention`);
    else if (this.cosines) parts.push(`cosine ${this.cosines[region].toFixed(2)}`);
    this.readout.textContent = parts.join(" · ");
  }

  /** What is known of the mask under a point. */
  maskText(point) {
    if (!point) return "";
    const { labels, names, scores, areas, size } = this.data.masks;
    const [rows, columns] = labels.shape;
    this.maskLabels ??= unpacked(labels);
    const [row, column] = [Math.floor(point.y * rows), Math.floor(point.x * columns)];
    const mask = this.maskLabels[row * columns + column] ?? -1;
    if (mask < 0) return "No mask here.";
    const share = percent(areas[mask] / (size[0] * size[1]));
    const parts = [`Mask ${mask}`, `${counted(areas[mask], "pixel")} (${share})`];
    if (names) parts.push(names[mask]);
    if (scores && scores[mask] !== null) parts.push(`score ${scores[mask].toFixed(2)}`);
    return parts.join(" · ");
  }

  /** Draw everything anew. */
  draw() {
    if (drawPanel(this) && this.data) this.describe();
  }

  /** What a layer's colours mean here. */
  legend(layer) {
    if (!this.data) return null;
    if (layer === "norms" && this.data.norms) return extent(unpacked(this.data.norms));
    if (layer === "regions" && this.cosines) return extent(this.cosines);
    return null;
  }
}
