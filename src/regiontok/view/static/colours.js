// Colours: twelve hues for regions that touch, a scale for norms, and one for cosines.

// OKLCH, 30 degrees apart, light and deep in turn, as the drawings of the package have them
const HUES = [
  [152, 191, 254],
  [136, 107, 238],
  [235, 154, 253],
  [212, 73, 150],
  [253, 161, 160],
  [207, 99, 13],
  [245, 176, 5],
  [140, 140, 1],
  [116, 218, 92],
  [16, 157, 123],
  [12, 215, 224],
  [18, 146, 192],
];
// every sixteenth colour of matplotlib's viridis (CC0)
const VIRIDIS = [
  [68, 1, 84],
  [72, 24, 106],
  [71, 45, 123],
  [66, 64, 134],
  [59, 82, 139],
  [51, 99, 141],
  [44, 114, 142],
  [38, 130, 142],
  [33, 145, 140],
  [31, 160, 136],
  [40, 174, 128],
  [63, 188, 115],
  [94, 201, 98],
  [132, 212, 75],
  [173, 220, 48],
  [216, 226, 25],
  [253, 231, 37],
];

/** The colour of a region's hue. */
export function hueColour(hue) {
  return HUES[hue % HUES.length];
}

/** A share from 0 to 1 as a colour from dark blue to yellow. */
export function scaleColour(share) {
  const place = Math.min(1, Math.max(0, share || 0)) * (VIRIDIS.length - 1);
  const lower = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[lower].map(
    (value, i) => value + (place - lower) * (VIRIDIS[lower + 1][i] - value),
  );
}

/** A colour as CSS has it. */
export function css([red, green, blue], alpha = 1) {
  return `rgb(${Math.round(red)} ${Math.round(green)} ${Math.round(blue)} / ${alpha})`;
}

/** The smallest and the largest number, apart even where all are alike. */
export function extent(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < low) low = number;
    if (number > high) high = number;
  }
  return high > low ? [low, high] : [low - 1, high + 1];
}
