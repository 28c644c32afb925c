// Drawing one panel: the photo, a layer over it, and the outlines of what is pointed at.

import { sharpContext, styleValue } from "./dom.js";
import { borderLines } from "./geometry.js";
import { drawOrder, patchColours, strokeLines } from "./paint.js";

/** Draw a panel on its canvas; true if that has a size yet. */
export function drawPanel(panel) {
  const width = panel.canvas.clientWidth;
  const height = panel.canvas.clientHeight;
  if (!width || !height) return false;
  const context = sharpContext(panel.canvas, width, height);
  context.clearRect(0, 0, width, height);
  const { zoom, layer } = panel.page;
  const photo = panel.page.picture;
  const place = (x, y) => ({
    x: (x - zoom.left) * zoom.times * width,
    y: (y - zoom.top) * zoom.times * height,
  });
  const [from, to] = [place(0, 0), place(1, 1)];
  context.imageSmoothingQuality = "high";
  if (photo?.complete && photo.naturalWidth) {
    context.drawImage(photo, from.x, from.y, to.x - from.x, to.y - from.y);
    if (panel.given && layer === "regions") dim(context, from, to);
  } else {
    context.fillStyle = styleValue("--raised");
    context.fillRect(0, 0, width, height);
  }
  if (!panel.data) return true;
  if (layer === "masks") drawMasks(panel, context, from, to);
  else if (layer !== "photo") drawRegions(panel, context, place);
  drawMarks(panel, context, place);
  return true;
}

/** Make the photo grey and darker, so that a tint stands out. */
function dim(context, from, to) {
  context.save();
  for (const [mode, colour] of [
    ["saturation", "#808080"],
    ["multiply", "#bfbfbf"],
  ]) {
    context.globalCompositeOperation = mode;
    context.fillStyle = colour;
    context.fillRect(from.x, from.y, to.x - from.x, to.y - from.y);
  }
  context.restore();
}

function drawMasks(panel, context, from, to) {
  if (!panel.masks) return;
  context.imageSmoothingEnabled = false;
  context.drawImage(panel.masks, from.x, from.y, to.x - from.x, to.y - from.y);
  context.imageSmoothingEnabled = true;
}

function drawRegions(panel, context, place) {
  const { layout, page, partition } = panel;
  const { photo } = layout;
  const onScreen = (column, row) =>
    place(layout.x(column) / photo.width, layout.y(row) / photo.height);
  const [from, to] = [onScreen(0, 0), onScreen(layout.columns, layout.rows)];
  context.save();
  const { crop } = layout;
  const [corner, end] = [
    place(crop.x0 / photo.width, crop.y0 / photo.height),
    place(crop.x1 / photo.width, crop.y1 / photo.height),
  ];
  greyOutside(context, place(0, 0), place(1, 1), corner, {
    x: Math.min(end.x, to.x),
    y: Math.min(end.y, to.y),
  });
  context.beginPath();
  context.rect(corner.x, corner.y, end.x - corner.x, end.y - corner.y);
  context.clip();
  const bytes = patchColours(page.layer, panel, panel.start, panel.cosines);
  if (bytes) {
    panel.overlay.width = layout.columns;
    panel.overlay.height = layout.rows;
    panel.overlay
      .getContext("2d")
      .putImageData(new ImageData(bytes, layout.columns, layout.rows), 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(panel.overlay, from.x, from.y, to.x - from.x, to.y - from.y);
  }
  const extentOfPatch = (to.x - from.x) / layout.columns;
  if (page.layer === "patches") {
    strokeLines(context, patchLines(layout), onScreen, Math.min(0.6, extentOfPatch / 30));
  } else {
    panel.lines ??= new Map();
    if (!panel.lines.has(panel.start)) {
      panel.lines.set(
        panel.start,
        borderLines(partition.labels, layout.rows, layout.columns, panel.start),
      );
    }
    const across = extentOfPatch * Math.sqrt(panel.patches / Math.max(1, partition.count));
    strokeLines(
      context,
      panel.lines.get(panel.start),
      onScreen,
      Math.min(1, across / 42) * (page.layer === "regions" ? 1 : 0.55),
    );
  }
  if (page.layer === "order") drawOrder(context, partition, onScreen);
  drawOutline(panel, context, onScreen, panel.regionAt(page.pin), "#ffd84d", 3);
  drawOutline(panel, context, onScreen, panel.regionAt(page.point), "#ffffff", 2.5);
  context.restore();
}

/** The outline of one region at the page's frame. */
function drawOutline(panel, context, onScreen, region, colour, width) {
  if (region < 0) return;
  const { rows, columns } = panel.layout;
  const inside = new Int32Array(rows * columns);
  for (const patch of panel.partition.members(region)) {
    if (patch >= panel.start && patch < panel.start + panel.patches)
      inside[patch - panel.start] = 1;
  }
  context.beginPath();
  for (let patch = 0; patch < inside.length; patch++) {
    if (!inside[patch]) continue;
    const [row, column] = [Math.floor(patch / columns), patch % columns];
    const sides = [
      [row === 0 || !inside[patch - columns], column, row, column + 1, row],
      [row === rows - 1 || !inside[patch + columns], column, row + 1, column + 1, row + 1],
      [column === 0 || !inside[patch - 1], column, row, column, row + 1],
      [column === columns - 1 || !inside[patch + 1], column + 1, row, column + 1, row + 1],
    ];
    for (const [isBorder, x0, y0, x1, y1] of sides) {
      if (!isBorder) continue;
      const [a, b] = [onScreen(x0, y0), onScreen(x1, y1)];
      context.moveTo(a.x, a.y);
      context.lineTo(b.x, b.y);
    }
  }
  context.lineCap = "square";
  context.lineWidth = width + 3;
  context.strokeStyle = "rgb(10 12 16 / .75)";
  context.stroke();
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke();
}

/** The linked cursor: where the pointer is in another panel. */
function drawMarks(panel, context, place) {
  const { point, pointedAt } = panel.page;
  if (!point || pointedAt === panel) return;
  const { x, y } = place(point.x, point.y);
  for (const [radius, colour, width] of [
    [7, "rgb(10 12 16 / .7)", 4],
    [7, "#fff", 1.8],
  ]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
}

/** Lay grey over what no patch sees: the photo but for a rectangle in it. */
function greyOutside(context, from, to, corner, end) {
  context.beginPath();
  context.rect(from.x, from.y, to.x - from.x, to.y - from.y);
  context.rect(corner.x, corner.y, end.x - corner.x, end.y - corner.y);
  context.fillStyle = "rgb(200 204 209 / .82)";
  context.fill("evenodd");
}

function patchLines({ rows, columns }) {
  const upright = Array.from({ length: columns + 1 }, (_, i) => [i, 0, i, rows]);
  return [...upright, ...Array.from({ length: rows + 1 }, (_, i) => [0, i, columns, i])];
}
