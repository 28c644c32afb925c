"""The loops of the generated world: signed distances, placing, painting, measuring.

Only +, -, *, /, square roots, floors and integer hashes are used, no sine, exponential or fast
maths: IEEE 754 rounds those the same way everywhere, so a picture has the same bytes on every
machine. Numba contracts nothing unless told to: the compiled loops hold no fused multiply-add, and
CPython running them uncompiled (NUMBA_DISABLE_JIT=1) gives the same bytes.

Coordinates are pixels, y downwards; pixel (i, j) has its centre at (i + 0.5, j + 0.5).
"""

from __future__ import annotations

import math

import numpy as np

from regiontok.system.compiled import compiled

_HALF_SQRT3 = 0.8660254037844386
_COS36, _SIN36 = 0.8090169943749475, 0.5877852522924731
# Inner over outer radius: 0.38 is the pentagram, thinner than small pictures can show.
STAR_INNER = 0.45
CROSS_ARM = 0.36  # half the width of an arm over its length
RING_HOLE = 0.5  # inner over outer radius
CRESCENT_SHIFT, CRESCENT_BITE = 0.45, 0.8  # the unit disc less a disc of radius 0.8 at x = 0.45
HEART_CENTRE, CRESCENT_CENTRE = 0.657, -0.398  # where the centroids lie in the frames used below


@compiled()
def _unit_distance(shape: int, x: float, y: float) -> float:
    """Signed distance (negative inside) to shape number `shape`.

    The shape is upright, at unit scale, with its centroid at the origin.
    """
    ax = abs(x)
    if shape == 0:  # circle
        return math.sqrt(x * x + y * y) - 1.0
    if shape == 1:  # square
        return max(ax, abs(y)) - 1.0
    if shape == 2:  # triangle: half-planes; exact on the edges, which is where it is used
        return max(y - 0.5, _HALF_SQRT3 * ax - 0.5 * y - 0.5)
    if shape == 3:  # star: fold the plane onto half a spike, then the distance to one segment
        y = -y
        fold = 2.0 * max(_COS36 * ax - _SIN36 * y, 0.0)
        ax, y = ax - fold * _COS36, y + fold * _SIN36
        fold = 2.0 * max(-_COS36 * ax - _SIN36 * y, 0.0)
        ax, y = abs(ax + fold * _COS36), y + fold * _SIN36 - 1.0
        edge_x, edge_y = STAR_INNER * _SIN36, STAR_INNER * _COS36 - 1.0
        along = (ax * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y)
        along = min(max(along, 0.0), 1.0)
        off_x, off_y = ax - edge_x * along, y - edge_y * along
        off = math.sqrt(off_x * off_x + off_y * off_y)
        return off if y * edge_x - ax * edge_y > 0.0 else -off
    if shape == 4:  # cross
        ay = abs(y)
        return min(max(ax - 1.0, ay - CROSS_ARM), max(ax - CROSS_ARM, ay - 1.0))
    if shape == 5:  # ring
        middle = 0.5 + 0.5 * RING_HOLE
        return abs(math.sqrt(x * x + y * y) - middle) - (1.0 - middle)
    if shape == 6:  # heart: a square on its corner with half a disc on each upper side
        y = HEART_CENTRE - y
        if ax + y > 1.0:
            lobe = math.sqrt((ax - 0.25) * (ax - 0.25) + (y - 0.75) * (y - 0.75))
            return lobe - 0.3535533905932738
        corner = ax * ax + (y - 1.0) * (y - 1.0)
        foot = 0.5 * max(ax + y, 0.0)
        side = (ax - foot) * (ax - foot) + (y - foot) * (y - foot)
        off = math.sqrt(min(corner, side))
        return off if ax > y else -off
    x += CRESCENT_CENTRE
    bite_x = x - CRESCENT_SHIFT
    return max(math.sqrt(x * x + y * y) - 1.0, CRESCENT_BITE - math.sqrt(bite_x * bite_x + y * y))


@compiled()
def distance_patch(
    shape: int, scale: float, half: int, phase_y: float, phase_x: float, cos: float, sin: float
) -> tuple[np.ndarray, int]:
    """Signed distances in pixels `[2half+1 2half+1]` of a turned shape, and its area.

    The shape's centroid lies at (half + phase) in the patch.
    """
    side = 2 * half + 1
    distance = np.empty((side, side), np.float64)
    area = 0
    for i in range(side):
        dy = i + 0.5 - (half + phase_y)
        for j in range(side):
            dx = j + 0.5 - (half + phase_x)
            x, y = (cos * dx + sin * dy) / scale, (cos * dy - sin * dx) / scale
            d = scale * _unit_distance(shape, x, y)
            distance[i, j] = d
            if d <= 0.0:
                area += 1
    return distance, area


@compiled()
def place(
    distance: np.ndarray,
    corners: np.ndarray,
    labels: np.ndarray,
    visible: np.ndarray,
    needed: np.ndarray,
    label: int,
) -> int:
    """Stamp a patch where every earlier object i keeps `needed[i]` visible pixels.

    Args:
        distance: `[s s]` signed distances of the object.
        corners: `[n 2]` (top, left) of the places that are tried, in this order.
        labels: `[H W]` labels of the objects, which are written.
        visible: visible pixels of each label, which are updated.
        needed: visible pixels that each label must keep.
        label: label of the object.

    Returns:
        Index of the corner; -1 if the patch fits at none of them and nothing is changed.
    """
    side = distance.shape[0]
    lost = np.zeros(label, np.int64)
    for c in range(corners.shape[0]):
        top, left = corners[c, 0], corners[c, 1]
        lost[:] = 0
        for i in range(side):
            for j in range(side):
                if distance[i, j] <= 0.0:
                    lost[labels[top + i, left + j]] += 1
        fits = True
        for k in range(1, label):
            fits = fits and visible[k] - lost[k] >= needed[k]
        if not fits:
            continue
        visible[1:label] -= lost[1:]
        for i in range(side):
            for j in range(side):
                if distance[i, j] <= 0.0:
                    labels[top + i, left + j] = label
                    visible[label] += 1
        return c
    return -1


@compiled()
def _hash01(x: int, y: int, salt: int) -> float:
    """A number in [0, 1) for a lattice point, by integer mixing: the same on every machine."""
    h = (x * 374761393 + y * 668265263 + salt * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 1103515245) & 0xFFFFFFFF
    return (h ^ (h >> 15)) / 4294967296.0


@compiled()
def _value_noise(u: float, v: float, salt: int) -> float:
    """Smooth noise in [0, 1) with one lattice point a unit."""
    fu, fv = math.floor(u), math.floor(v)
    x, y = int(fu), int(fv)
    a, b = u - fu, v - fv
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    upper = (1.0 - a) * _hash01(x, y, salt) + a * _hash01(x + 1, y, salt)
    lower = (1.0 - a) * _hash01(x, y + 1, salt) + a * _hash01(x + 1, y + 1, salt)
    return (1.0 - b) * upper + b * lower


@compiled()
def _to_edge(u: float, period: float) -> float:
    """Distance in pixels to the nearest edge of bands half a period wide.

    It is positive in the second band and negative in the first.
    """
    turn = u / period
    return (abs(turn - math.floor(turn) - 0.5) - 0.25) * period


@compiled()
def _ink(texture: int, u: float, v: float, period: float, salt: int) -> float:
    """Share of the second tone at (u, v) pixels in the object's frame, in [0, 1].

    Edges are smoothed over one pixel.
    """
    if texture == 0:  # plain
        return 0.0
    if texture == 1:  # striped
        return min(max(0.5 + _to_edge(v, period), 0.0), 1.0)
    if texture == 2:  # dotted: every other row is shifted by half a period
        row = math.floor(v / period)
        column = u / period + 0.5 * (row - 2.0 * math.floor(0.5 * row))
        du = (column - math.floor(column) - 0.5) * period
        dv = (v / period - row - 0.5) * period
        return min(max(0.5 + 0.3 * period - math.sqrt(du * du + dv * dv), 0.0), 1.0)
    if texture == 3:  # checkered
        du, dv = _to_edge(u, period), _to_edge(v, period)
        near = min(abs(du), abs(dv))
        return min(max(0.5 + (near if du * dv > 0.0 else -near), 0.0), 1.0)
    # speckled: crossing at 0.57 leaves the first tone the larger part, so the colour keeps its name
    return min(max(3.0 * _value_noise(4.0 * u / period, 4.0 * v / period, salt) - 1.2, 0.0), 1.0)


@compiled()
def paint(
    pixels: np.ndarray,
    distance: np.ndarray,
    corner: tuple[int, int],
    phase: tuple[float, float],
    turn: tuple[float, ...],
    texture: int,
    period: float,
    salt: int,
    tones: np.ndarray,
    light: float,
    rim: float,
) -> None:
    """Blend one object over `pixels` `[H W 3]`: two tones by texture, lit from above.

    Args:
        pixels: the picture, which is written.
        distance: `[s s]` signed distances of the object.
        corner: (top, left) of the distances in the picture.
        phase: (y, x) of the centroid within its pixel.
        turn: cosine and sine of the rotation.
        texture: number of the texture.
        period: period of the texture in pixels.
        salt: seed of the speckles.
        tones: `[2 3]` the two tones.
        light: how much lighter the upper edge is.
        rim: width in pixels of the darker rim inside the smoothed edge.
    """
    side = distance.shape[0]
    half = side // 2
    top, left = corner
    cos, sin = turn
    for i in range(side):
        dy = i + 0.5 - (half + phase[0])
        lit = 1.0 - light * dy / half
        for j in range(side):
            d = distance[i, j]
            if d >= 0.5:
                continue
            dx = j + 0.5 - (half + phase[1])
            ink = _ink(texture, cos * dx + sin * dy, cos * dy - sin * dx, period, salt)
            edge = min(max(0.5 + d + rim, 0.0), 1.0)
            alpha = min(0.5 - d, 1.0)
            for c in range(3):
                tone = (tones[0, c] + ink * (tones[1, c] - tones[0, c])) * lit * (1.0 - 0.4 * edge)
                mixed = (1.0 - alpha) * pixels[top + i, left + j, c] + alpha * tone
                pixels[top + i, left + j, c] = int(min(mixed, 255.0) + 0.5)


@compiled()
def _add_noise_row(row: np.ndarray, v: float, step: float, weight: float, salt: int) -> None:
    """Add `weight` times smooth noise along one row of pixels, `step` lattice points a pixel.

    Hashes once a lattice point, not four times a pixel: 0.45 ms for a 256-pixel background instead
    of 1.33.
    """
    y = math.floor(v)
    b = v - y
    b = b * b * (3.0 - 2.0 * b)
    cell, left, right = -1, 0.0, 0.0
    for j in range(row.shape[0]):
        u = step * j
        x = int(u)
        if x != cell:
            cell = x
            left = (1.0 - b) * _hash01(x, y, salt) + b * _hash01(x, y + 1, salt)
            right = (1.0 - b) * _hash01(x + 1, y, salt) + b * _hash01(x + 1, y + 1, salt)
        a = u - x
        a = a * a * (3.0 - 2.0 * a)
        row[j] += weight * ((1.0 - a) * left + a * right)


@compiled()
def paint_background(
    pixels: np.ndarray,
    background: int,
    tones: np.ndarray,
    turn: tuple[float, ...],
    period: float,
    salt: int,
) -> None:
    """Fill `pixels` between two close tones `[2 3]`: plain, gradient, stripes or noise."""
    height, width = pixels.shape[:2]
    cos, sin = turn
    reach = abs(cos) * width + abs(sin) * height
    mix = np.zeros(width, np.float64)
    for i in range(height):
        if background == 3:
            mix[:] = 0.0
            _add_noise_row(mix, i / period, 1.0 / period, 0.65, salt)
            _add_noise_row(mix, 3.0 * i / period, 3.0 / period, 0.35, salt + 1)
        elif background > 0:
            for j in range(width):
                along = cos * (j + 0.5 - 0.5 * width) + sin * (i + 0.5 - 0.5 * height)
                mix[j] = (
                    along / reach + 0.5
                    if background == 1
                    else min(max(0.5 + _to_edge(along, period), 0.0), 1.0)
                )
        for j in range(width):
            for c in range(3):
                pixels[i, j, c] = int(tones[0, c] + mix[j] * (tones[1, c] - tones[0, c]) + 0.5)


@compiled()
def boxes_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Boxes `[count 4]` of the pixels that carry each label 1 to count.

    A box is (x0, y0, x1, y1), the ends exclusive.
    """
    height, width = labels.shape
    boxes = np.empty((count + 1, 4), np.int64)
    boxes[:, 0], boxes[:, 1] = width, height
    boxes[:, 2], boxes[:, 3] = 0, 0
    for i in range(height):
        for j in range(width):
            label = labels[i, j]
            if label == 0:
                continue
            box = boxes[label]
            box[0], box[1] = min(box[0], j), min(box[1], i)
            box[2], box[3] = max(box[2], j + 1), max(box[3], i + 1)
    return boxes[1:]
