// The figures of coherence of each panel's features, side by side.

import { make } from "./dom.js";

export const FIGURES = [
  ["neighbour_cosine", "Neighbours alike", "mean cosine of patches that touch"],
  ["far_cosine", "Any two alike", "mean cosine of all pairs of patches"],
  ["neighbour_gain", "Gain of neighbours", "the first less the second: 0 for noise"],
  ["norm_spread", "Spread of norms", "quartiles apart, over the median"],
  ["outlier_share", "Outliers", "share of patches whose norm is far above the others'"],
  ["outlier_peak", "Largest norm", "over the median"],
];

/** A table with a row for each different encoder and transforms; null if nothing is known. */
export function featureTable(panels, figures) {
  const rows = new Map();
  for (const { data, label } of panels) {
    if (!data?.figures) continue;
    const name = [
      label.encoder,
      label.layer && `layer ${label.layer}`,
      label.transforms || "as they are",
    ];
    rows.set(name.filter(Boolean).join(" · "), data.figures);
  }
  if (!rows.size) return null;
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "Features"),
    figures.map(([, title, hint]) => make("th", { scope: "col", title: hint }, title)),
  );
  const body = [...rows].map(([name, values]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, name),
      figures.map(([key]) => make("td", {}, shown(key, values[key]))),
    ),
  );
  return make(
    "div",
    {},
    make("h3", {}, "How coherent the features are"),
    make(
      "div",
      { class: "scroll" },
      make("table", {}, make("thead", {}, head), make("tbody", {}, body)),
    ),
  );
}

function shown(key, value) {
  if (value === null || value === undefined) return "–";
  return key === "outlier_share" ? `${(100 * value).toFixed(1)} %` : value.toFixed(3);
}
