// What the colours of a layer mean, and what one can do: the line above the panels.

import { css, scaleColour } from "./colours.js";
import { make } from "./dom.js";
import { LAYERS } from "./paint.js";

const POINT =
  "Point at a region to see what it is; click to fix it and see which others are like it.";
const FIXED = "Cosine of every region to the fixed one (Escape lets go): ";
const LOOKED = "Orange: what the answer looked at, by area. A patch has at most ";
const NO_MASKS =
  "There are no masks here: start the viewer with --segmenter, or with a mask store.";

/** The text and the scale of a layer, as the active panel shows it. */
export function legendParts(layer, panel) {
  if (layer === "masks" && !panel.masks) return [NO_MASKS];
  if (layer === "regions" && panel.given) {
    return [LOOKED, `${(100 * Math.max(...panel.given)).toPrecision(2)} % of the attention.`];
  }
  const [low, high] = panel.legend(layer) ?? [];
  const isShared = low === undefined;
  const said = LAYERS.find(([key]) => key === layer)[2];
  const text = layer !== "regions" ? `${said}.` : isShared ? POINT : FIXED;
  if (isShared) return [text];
  return [
    text,
    make("span", {}, low.toPrecision(3)),
    scaleBar(),
    make("span", {}, high.toPrecision(3)),
  ];
}

function scaleBar() {
  const bar = make("i", { class: "scale", "aria-hidden": "true" });
  const stops = Array.from({ length: 9 }, (_, i) => css(scaleColour(i / 8)));
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  return bar;
}
