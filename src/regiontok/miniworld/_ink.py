"""The loops of what the generated world adds to shapes: printed letters, and clutter behind them.

As in `_raster`, only +, -, *, /, square roots and floors are used, so that a picture has the same
bytes on every machine.
"""

from __future__ import annotations

import math

import numpy as np

from regiontok.system.compiled import compiled


@compiled()
def print_letter(
    pixels: np.ndarray,
    letter: np.ndarray,
    corner: tuple[float, float],
    scale: float,
    ink: np.ndarray,
) -> None:
    """Blend a letter of the sheet over `pixels` `[H W 3]`, averaged over each pixel's area.

    Args:
        pixels: the picture, which is written.
        letter: `[h w]` uint8 coverage of the letter.
        corner: (top, left) of the letter in the picture, in pixels.
        scale: pixels of the picture a row of the letter.
        ink: `[3]` the letter's tone.
    """
    rows, columns = letter.shape
    top, left = math.floor(corner[0]), math.floor(corner[1])
    bottom = math.ceil(corner[0] + rows * scale)
    right = math.ceil(corner[1] + columns * scale)
    for i in range(max(top, 0), min(bottom, pixels.shape[0])):
        y0, y1 = (i - corner[0]) / scale, (i + 1 - corner[0]) / scale
        for j in range(max(left, 0), min(right, pixels.shape[1])):
            x0, x1 = (j - corner[1]) / scale, (j + 1 - corner[1]) / scale
            alpha = _mean_under(letter, y0, y1, x0, x1)
            if alpha > 0.0:
                for c in range(3):
                    mixed = (1.0 - alpha) * pixels[i, j, c] + alpha * ink[c]
                    pixels[i, j, c] = int(mixed + 0.5)


@compiled()
def _mean_under(letter: np.ndarray, y0: float, y1: float, x0: float, x1: float) -> float:
    """Mean coverage in [0, 1] under a rectangle of the letter's own pixels; outside it is 0."""
    rows, columns = letter.shape
    total = 0.0
    for y in range(max(math.floor(y0), 0), min(math.ceil(y1), rows)):
        high = min(y1, y + 1.0) - max(y0, float(y))
        for x in range(max(math.floor(x0), 0), min(math.ceil(x1), columns)):
            wide = min(x1, x + 1.0) - max(x0, float(x))
            total += letter[y, x] * high * wide
    return total / (255.0 * (y1 - y0) * (x1 - x0))


@compiled()
def draw_lines(pixels: np.ndarray, lines: np.ndarray) -> None:
    """Blend thin lines and circles over `pixels` `[H W 3]`.

    Args:
        pixels: the picture, which is written.
        lines: `[n 7]`: y0, x0, y1, x1 and half the width in pixels, how much lighter or darker it
            is, and 1 for a circle about the first point through the second, 0 for a line.
    """
    height, width = pixels.shape[:2]
    for n in range(lines.shape[0]):
        y0, x0, y1, x1, half, shift, is_circle = lines[n]
        dy, dx = y1 - y0, x1 - x0
        length = math.sqrt(dy * dy + dx * dx) + 1e-9
        reach = half + 1.0 + (length if is_circle > 0.5 else 0.0)
        top, left = min(y0, y1 if is_circle < 0.5 else y0), min(x0, x1 if is_circle < 0.5 else x0)
        low, far = max(y0, y1 if is_circle < 0.5 else y0), max(x0, x1 if is_circle < 0.5 else x0)
        for i in range(max(int(top - reach), 0), min(int(low + reach) + 1, height)):
            py = i + 0.5 - y0
            for j in range(max(int(left - reach), 0), min(int(far + reach) + 1, width)):
                px = j + 0.5 - x0
                if is_circle > 0.5:
                    away = abs(math.sqrt(py * py + px * px) - length)
                else:
                    along = min(max((py * dy + px * dx) / (length * length), 0.0), 1.0)
                    oy, ox = py - along * dy, px - along * dx
                    away = math.sqrt(oy * oy + ox * ox)
                alpha = min(max(half + 0.5 - away, 0.0), 1.0)
                if alpha > 0.0:
                    for c in range(3):
                        mixed = pixels[i, j, c] + alpha * shift
                        pixels[i, j, c] = int(min(max(mixed, 0.0), 255.0) + 0.5)


@compiled()
def stamp(distance: np.ndarray, corner: tuple[int, int], labels: np.ndarray, label: int) -> None:
    """Write a label under a whole shape: where its signed distance is at most 0."""
    side = distance.shape[0]
    for i in range(side):
        for j in range(side):
            if distance[i, j] <= 0.0:
                labels[corner[0] + i, corner[1] + j] = label


@compiled()
def count_hidden(
    distance: np.ndarray, corner: tuple[int, int], labels: np.ndarray, hidden: np.ndarray
) -> None:
    """Count, for each label, the pixels of a shape at which that label is seen; adds to `hidden`.

    Args:
        distance: `[s s]` signed distances of the shape.
        corner: (top, left) of them in the picture.
        labels: `[H W]` labels of the picture.
        hidden: `[labels]` counts, which are added to.
    """
    side = distance.shape[0]
    for i in range(side):
        for j in range(side):
            if distance[i, j] <= 0.0:
                hidden[labels[corner[0] + i, corner[1] + j]] += 1


@compiled()
def count_labels(labels: np.ndarray, most: int) -> np.ndarray:
    """How many pixels each label 0 to `most` has."""
    counts = np.zeros(most + 1, np.int64)
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            counts[labels[i, j]] += 1
    return counts
