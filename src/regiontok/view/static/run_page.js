// The curves of a training or pretraining run, with the value under the pointer.

import { make, sharpContext, styleValue } from "./dom.js";

const COLOURS = ["#3b7dd8", "#e08a1e", "#2f9e6e", "#d9552b", "#b75aa6", "#37a6c4", "#8a8f00"];
const [LEFT, RIGHT, TOP, BOTTOM] = [54, 14, 12, 30];

/** The page of a run. */
export class RunPage {
  constructor(item) {
    const plots = item.curves.map((curve) => new Plot(curve));
    this.element = make(
      "div",
      {},
      make("h1", {}, item.name),
      make("p", { class: "about" }, `${item.what}, ${item.steps.toLocaleString()} steps`),
      make(
        "div",
        { class: "plots" },
        plots.map((plot) => plot.element),
      ),
    );
    this.onResize = new ResizeObserver(() => plots.forEach((plot) => plot.draw()));
    plots.forEach((plot) => this.onResize.observe(plot.canvas));
    document.documentElement.dataset.ready = "true";
  }

  close() {
    this.onResize.disconnect();
    delete document.documentElement.dataset.ready;
  }
}

class Plot {
  constructor(curve) {
    this.curve = curve;
    this.at = null;
    this.canvas = make("canvas", {
      role: "img",
      tabindex: 0,
      "aria-label": `${curve.title}: ${curve.lines.map((line) => line.name).join(", ")}`,
      onpointermove: (event) => {
        this.at = event.offsetX;
        this.draw();
      },
      onpointerleave: () => {
        this.at = null;
        this.draw();
      },
    });
    this.keys = curve.lines.map((line, i) => {
      const key = make("span", { class: "key" }, line.name, make("b", {}));
      key.style.setProperty("--own", COLOURS[i % COLOURS.length]);
      return key;
    });
    this.element = make(
      "figure",
      { class: "plot" },
      make("h3", {}, curve.title),
      this.canvas,
      make("figcaption", {}, this.keys),
      make("p", { class: "axes" }, `${curve.y} over ${curve.x}`),
    );
    this.bounds = boundsOf(curve);
  }

  draw() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width) return;
    const context = sharpContext(this.canvas, width, height);
    const { x0, x1, y0, y1 } = this.bounds;
    const x = (value) => LEFT + ((value - x0) / (x1 - x0 || 1)) * (width - LEFT - RIGHT);
    const level = (value) =>
      this.curve.log ? Math.log10(Math.max(value, this.curve.low ?? 1e-12)) : value;
    const y = (value) =>
      height -
      BOTTOM -
      ((level(value) - level(y0)) / (level(y1) - level(y0) || 1)) * (height - TOP - BOTTOM);
    context.clearRect(0, 0, width, height);
    this.drawAxes(context, width, height, x, y);
    this.curve.lines.forEach((line, i) => {
      context.beginPath();
      line.x.forEach((value, j) =>
        j ? context.lineTo(x(value), y(line.y[j])) : context.moveTo(x(value), y(line.y[j])),
      );
      context.strokeStyle = COLOURS[i % COLOURS.length];
      context.lineWidth = 2;
      context.lineJoin = "round";
      context.stroke();
      if (line.x.length === 1) {
        context.fillStyle = context.strokeStyle;
        context.fillRect(x(line.x[0]) - 3, y(line.y[0]) - 3, 6, 6);
      }
    });
    this.tell(context, height, x, y);
  }

  drawAxes(context, width, height, x, y) {
    const { x0, x1, y0, y1 } = this.bounds;
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 1;
    context.strokeStyle = styleValue("--rule");
    context.fillStyle = styleValue("--soft");
    context.textBaseline = "middle";
    const low = Math.max(y0, this.curve.low ?? 1e-12);
    const levels = this.curve.log
      ? Array.from({ length: 5 }, (_, i) => low * (y1 / low) ** (i / 4))
      : roundNumbers(y0, y1);
    context.textAlign = "right";
    for (const value of levels) {
      context.beginPath();
      context.moveTo(LEFT, Math.round(y(value)) + 0.5);
      context.lineTo(width - RIGHT, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillText(short(value), LEFT - 8, y(value));
    }
    context.textAlign = "center";
    for (const value of roundNumbers(x0, x1)) {
      const half = context.measureText(short(value)).width / 2;
      const across = Math.min(width - half, x(value));
      context.fillText(short(value), across, height - 12);
    }
  }

  /** Write the values of every line at the pointer. */
  tell(context, height, x, y) {
    this.curve.lines.forEach((line, i) => {
      let said = "";
      if (this.at !== null && line.x.length) {
        const nearest = line.x.reduce(
          (best, value, j) =>
            Math.abs(x(value) - this.at) < Math.abs(x(line.x[best]) - this.at) ? j : best,
          0,
        );
        context.fillStyle = COLOURS[i % COLOURS.length];
        context.beginPath();
        context.arc(x(line.x[nearest]), y(line.y[nearest]), 4, 0, 2 * Math.PI);
        context.fill();
        said = ` ${short(line.y[nearest])}`;
      }
      this.keys[i].querySelector("b").textContent = said;
    });
  }
}

function boundsOf(curve) {
  const xs = curve.lines.flatMap((line) => line.x);
  const ys = curve.lines
    .flatMap((line) => line.y)
    .filter((value) => value !== null && Number.isFinite(value));
  const low = curve.low ?? Math.min(...ys);
  return { x0: Math.min(...xs), x1: Math.max(...xs), y0: low, y1: Math.max(...ys, low + 1e-9) };
}

/** Up to six round numbers between two. */
function roundNumbers(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const numbers = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) numbers.push(i * step);
  return numbers;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 10000) return `${Math.round(value / 1000)}k`;
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
