// Layers: what lies over the photo, as a colour of each patch or as lines.

import { css, extent, hueColour, scaleColour } from "./colours.js";
import { unpacked } from "./arrays.js";

export const LAYERS = [
  ["regions", "Regions", "Each region in a colour of its own"],
  ["patches", "Patches", "What the encoder cuts the photo into"],
  ["order", "Order", "The order in which the language model gets the regions"],
  ["pca", "Features", "Three principal components of the features as red, green and blue"],
  ["norms", "Norms", "How long each patch's feature is"],
  ["outliers", "Outliers", "Patches whose norm is far above that of the others"],
  ["masks", "Masks", "What the segmenter found in the pixels"],
  ["photo", "Photo", "The photo alone"],
];

// of what jobs wrote, there are no features to show
const WRITTEN = new Set(["regions", "patches", "order", "photo"]);
const TINT = 0.5;
// attention is drawn as the package's own drawings have it: orange over the photo in grey
const INK = [255, 92, 0];
const STRONGEST = 0.8;

/** The layers that an item of a kind has. */
export function layersOf(kind) {
  const isMade = kind === "photo" || kind === "clip";
  return isMade ? LAYERS : LAYERS.filter(([key]) => WRITTEN.has(key));
}

/** The colour of each patch of one frame as RGBA bytes; null where a layer has none. */
export function patchColours(layer, view, start, cosines) {
  const { partition, data } = view;
  const count = view.layout.rows * view.layout.columns;
  const bytes = new Uint8ClampedArray(4 * count);
  const put = (patch, colour, alpha) => {
    const to = 4 * patch;
    bytes[to] = colour[0];
    bytes[to + 1] = colour[1];
    bytes[to + 2] = colour[2];
    bytes[to + 3] = 255 * alpha;
  };
  if (layer === "regions" && view.given) {
    const most = Math.max(...view.given) || 1;
    for (let patch = 0; patch < count; patch++) {
      const label = partition.labels[start + patch];
      if (label >= 0) put(patch, INK, (STRONGEST * view.given[label]) / most);
    }
    return bytes;
  }
  if (layer === "regions" || layer === "order") {
    const isCompared = cosines && !view.given;
    const range = isCompared && extent(cosines);
    const colours = isCompared
      ? Array.from(cosines, (cosine) => scaleColour((cosine - range[0]) / (range[1] - range[0])))
      : partition.hues.map(hueColour);
    const alpha = isCompared ? 0.72 : layer === "order" ? 0.22 : TINT;
    const nothing = [20, 24, 30];
    for (let patch = 0; patch < count; patch++) {
      const label = partition.labels[start + patch];
      if (label < 0) put(patch, nothing, 0.45);
      else put(patch, colours[label], alpha);
    }
    return bytes;
  }
  if (!data.pca) return null;
  view.maps ??= {
    pca: unpacked(data.pca),
    norms: unpacked(data.norms),
    outliers: unpacked(data.outliers),
  };
  const { pca, norms, outliers } = view.maps;
  if (layer === "pca") {
    for (let patch = 0; patch < count; patch++) {
      const from = 3 * (start + patch);
      put(patch, [pca[from], pca[from + 1], pca[from + 2]], 0.92);
    }
  } else if (layer === "norms") {
    const [low, high] = extent(norms);
    for (let patch = 0; patch < count; patch++) {
      put(patch, scaleColour((norms[start + patch] - low) / (high - low)), 0.85);
    }
  } else if (layer === "outliers") {
    for (let patch = 0; patch < count; patch++) {
      if (outliers[start + patch]) put(patch, [255, 72, 48], 0.85);
      else put(patch, [16, 20, 26], 0.45);
    }
  } else return null;
  return bytes;
}

/** The masks of a segmenter as a picture of their label map. */
export function maskPicture(masks) {
  const labels = unpacked(masks.labels);
  const [height, width] = masks.labels.shape;
  const picture = new ImageData(width, height);
  labels.forEach((label, i) => {
    const colour = label < 0 ? [20, 24, 30] : hueColour((label * 5) % 12);
    picture.data.set([...colour, label < 0 ? 115 : 150], 4 * i);
  });
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** Lines with a dark halo, which show on any photo. */
export function strokeLines(context, lines, place, strength) {
  if (!lines.length || strength <= 0) return;
  context.beginPath();
  for (const [x0, y0, x1, y1] of lines) {
    const [from, to] = [place(x0, y0), place(x1, y1)];
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
  }
  context.lineCap = "square";
  context.lineWidth = 1 + 1.6 * strength;
  context.strokeStyle = `rgb(10 12 16 / ${0.5 * strength})`;
  context.stroke();
  context.lineWidth = 0.6 + 0.9 * strength;
  context.strokeStyle = `rgb(255 255 255 / ${0.4 + 0.5 * strength})`;
  context.stroke();
}

/** The way through the centres of all regions, from dark to light. */
export function drawOrder(context, partition, place) {
  const centres = partition.centres;
  const at = (region) => place(centres[2 * region] + 0.5, centres[2 * region + 1] + 0.5);
  const last = Math.max(1, partition.count - 1);
  context.lineWidth = 2;
  context.lineCap = "round";
  for (let region = 1; region < partition.count; region++) {
    const [from, to] = [at(region - 1), at(region)];
    context.strokeStyle = css(scaleColour(region / last), 0.95);
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
  }
  const radius = Math.max(2, Math.min(11, 130 / Math.sqrt(partition.count + 1)));
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `600 ${Math.max(9, radius)}px system-ui, sans-serif`;
  for (let region = 0; region < partition.count; region++) {
    const { x, y } = at(region);
    context.fillStyle = css(scaleColour(region / last));
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    if (radius < 8.5) continue;
    context.fillStyle = region / last > 0.6 ? "#12161c" : "#fff";
    context.fillText(String(region), x, y);
  }
}
