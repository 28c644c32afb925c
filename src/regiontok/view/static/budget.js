// The slider: how many regions, by number or by how alike what merges must be.

import { choices, count, counted, make } from "./dom.js";

const STEPS = 1000;

/** The control of the budget; `change(budget)` is called with {own}, {k} or {threshold}. */
export class Budget {
  constructor(change) {
    this.change = change;
    this.way = "number";
    [this.least, this.most, this.lowest] = [1, 1, 0];
    this.value = { own: true };
    this.slider = make("input", {
      type: "range",
      id: "slider",
      min: 0,
      max: STEPS,
      step: 1,
      value: STEPS / 2,
      "aria-label": "How many regions",
      oninput: () => this.fromSlider(),
      onkeydown: (event) => this.key(event),
    });
    this.said = make("output", { class: "said", for: "slider" }, "…");
    this.exact = make("input", {
      type: "number",
      id: "exact",
      min: 1,
      step: 1,
      "aria-label": "Exact number of regions",
      onchange: () => this.setK(Number(this.exact.value)),
    });
    this.own = make(
      "button",
      { type: "button", class: "quiet", onclick: () => this.setOwn() },
      "As the spec says",
    );
    this.ends = [make("span", {}, "few, large"), make("span", {}, "every patch by itself")];
    this.ways = choices(
      "Set by",
      [
        ["number", "Number", "The same number of regions in every panel"],
        ["likeness", "Likeness", "Regions merge while they are at least so alike (cosine)"],
      ],
      "number",
      (way) => this.setWay(way),
    );
    this.element = make(
      "section",
      { class: "budget", "aria-label": "How many regions" },
      make(
        "div",
        { class: "budget-head" },
        make("label", { class: "budget-title", for: "slider" }, "How many regions?"),
        this.said,
        make(
          "span",
          { class: "budget-more" },
          this.ways,
          make("label", { class: "exact" }, make("span", {}, "exactly "), this.exact),
          this.own,
        ),
      ),
      this.slider,
      make(
        "div",
        { class: "ends" },
        this.ends[0],
        make("span", { class: "hint" }, "drag, or press ← →"),
        this.ends[1],
      ),
    );
  }

  /** Take the bounds of all panels, and where the first of them stands. */
  take(trees, followsAny) {
    this.least = Math.min(...trees.map((tree) => tree.least), followsAny ? 1 : Infinity);
    this.most = Math.max(...trees.map((tree) => tree.most), followsAny && !trees.length ? 576 : 1);
    if (!Number.isFinite(this.least)) this.least = 1;
    this.lowest = Math.min(1, ...trees.map((tree) => tree.thresholdOf(tree.merges)));
    this.exact.max = this.most;
    this.exact.min = this.least;
    this.trees = trees;
    this.ways.disabled = trees.length === 0;
    this.element.hidden = trees.length === 0 && !followsAny;
    this.k ??= trees.length ? trees[0].most - trees[0].own : 64;
    this.threshold ??= trees.length ? trees[0].thresholdOf(trees[0].own) : 0.5;
    this.show();
  }

  setWay(way) {
    this.way = way;
    const tree = this.trees[0];
    if (way === "number") this.setK(tree ? tree.most - tree.mergesAt(this.threshold) : this.k);
    else this.setThreshold(tree ? tree.thresholdOf(tree.mergesFor(this.k)) : this.threshold);
  }

  setOwn() {
    this.value = { own: true };
    const tree = this.trees[0];
    if (tree) [this.k, this.threshold] = [tree.most - tree.own, tree.thresholdOf(tree.own)];
    this.show();
    this.change(this.value);
  }

  setK(k) {
    if (!Number.isFinite(k)) return this.show();
    this.k = Math.min(this.most, Math.max(this.least, Math.round(k)));
    this.value = { k: this.k };
    this.show();
    this.change(this.value);
  }

  setThreshold(threshold) {
    this.threshold = Math.min(1, Math.max(this.lowest, threshold));
    const [tree] = this.trees;
    if (tree) this.k = tree.most - tree.mergesAt(this.threshold);
    this.value = { threshold: this.threshold };
    this.show();
    this.change(this.value);
  }

  fromSlider() {
    const share = Number(this.slider.value) / STEPS;
    if (this.way === "number") this.setK(this.least * (this.most / this.least) ** share);
    else this.setThreshold(this.lowest + share * (1 - this.lowest));
  }

  /** One more or one fewer by an arrow, a tenth by a page, all by the ends. */
  key(event) {
    const signs = {
      ArrowRight: 1,
      ArrowUp: 1,
      ArrowLeft: -1,
      ArrowDown: -1,
      PageUp: 10,
      PageDown: -10,
    };
    const sign = signs[event.key];
    const end = { Home: 0, End: 1 }[event.key];
    if (sign === undefined && end === undefined) return;
    event.preventDefault();
    if (end !== undefined) {
      if (this.way === "number") this.setK(end ? this.most : this.least);
      else this.setThreshold(end ? 1 : this.lowest);
    } else this.step(sign);
  }

  step(sign) {
    if (this.way === "number") {
      this.setK(
        this.k +
          (Math.abs(sign) > 1 ? Math.sign(sign) * Math.max(1, Math.round(this.k / 10)) : sign),
      );
    } else this.setThreshold(this.threshold + 0.005 * sign);
  }

  show() {
    const byNumber = this.way === "number";
    const share = byNumber
      ? Math.log(this.k / this.least) / Math.log(this.most / this.least || 2)
      : (this.threshold - this.lowest) / (1 - this.lowest || 1);
    this.slider.value = String(Math.round(STEPS * (Number.isFinite(share) ? share : 0)));
    this.slider.style.setProperty("--share", `${100 * share}%`);
    const text =
      this.value.own && this.trees?.length > 1
        ? "each as its spec says"
        : byNumber
          ? counted(this.k, "region")
          : `at least ${this.threshold.toFixed(3)} alike`;
    this.said.textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
    this.exact.value = byNumber ? String(this.k) : "";
    this.exact.disabled = !byNumber;
    this.own.disabled = Boolean(this.value.own);
    this.ends[0].textContent = byNumber ? `${count(this.least)} · few, large` : "all merges";
    this.ends[1].textContent = byNumber
      ? `every patch by itself · ${count(this.most)}`
      : "nothing merges";
  }
}
