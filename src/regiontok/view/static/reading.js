// How the language model's input reads: text, one square a token, text.

import { css, hueColour } from "./colours.js";
import { counted, make, sharpContext, styleValue } from "./dom.js";

const HEIGHT = 76;

/** The strip of one panel's tokens; `point(region)` gets the region under the pointer. */
export class Reading {
  constructor(point, { before = "USER:", after = "What is in the picture? ASSISTANT:" } = {}) {
    this.canvas = make("canvas", {
      class: "strip",
      role: "img",
      onpointermove: (event) => point(this.regionAt(event)),
      onpointerleave: () => point(-1),
    });
    this.title = make("span", { class: "which" });
    this.element = make(
      "section",
      { class: "reading", "aria-label": "What the language model reads" },
      make("h3", {}, "What the language model reads ", this.title),
      make("p", { class: "prompt" }, before),
      this.canvas,
      make("p", { class: "prompt" }, after),
    );
  }

  /** Draw the tokens of a panel; the region under the page's point stands out. */
  draw(panel, highlighted) {
    if (!panel?.data) return;
    this.panel = panel;
    const width = this.canvas.clientWidth;
    if (!width) return;
    const { partition, data } = panel;
    const tokens = data.tokens === "patches" ? partition.rows : partition.count;
    const cell = cellSide(tokens, width, HEIGHT);
    this.columns = Math.max(1, Math.floor(width / cell));
    this.cell = cell;
    const context = sharpContext(this.canvas, width, HEIGHT);
    context.clearRect(0, 0, width, HEIGHT);
    this.owners = ownersOf(partition, data.tokens);
    const gap = cell > 6 ? 1.5 : cell > 3 ? 0.5 : 0;
    this.owners.forEach((region, i) => {
      const [x, y] = [(i % this.columns) * cell, Math.floor(i / this.columns) * cell];
      context.fillStyle = css(
        hueColour(partition.hues[region]),
        highlighted >= 0 && highlighted !== region ? 0.35 : 1,
      );
      context.beginPath();
      context.roundRect(x, y, cell - gap, cell - gap, cell > 8 ? 2.5 : 0);
      context.fill();
      if (region === highlighted) {
        context.strokeStyle = styleValue("--ink");
        context.lineWidth = 1.5;
        context.stroke();
      }
    });
    this.title.textContent = `${counted(tokens, "visual token")} · ${data.regions}`;
    this.canvas.setAttribute(
      "aria-label",
      `${counted(tokens, "visual token")} between two pieces of text`,
    );
  }

  regionAt(event) {
    if (!this.owners) return -1;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.cell);
    const row = Math.floor((event.clientY - box.top) / this.cell);
    return column < this.columns ? (this.owners[row * this.columns + column] ?? -1) : -1;
  }
}

function ownersOf(partition, tokens) {
  if (tokens !== "patches") return Array.from({ length: partition.count }, (_, region) => region);
  return Array.from(partition.sizes).flatMap((size, region) => new Array(size).fill(region));
}

/** The largest side of a square, at most 18, by which all tokens find room. */
function cellSide(tokens, width, height) {
  for (let side = 18; side > 2; side -= 0.5) {
    if (Math.floor(width / side) * Math.floor(height / side) >= tokens) return side;
  }
  return 2;
}
