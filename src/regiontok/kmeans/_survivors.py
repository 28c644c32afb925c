"""Compiled: which centres may be among the nearest, by rounded products, and which of them are.

The score of a centre c for a row x is x.c - |c|^2 / 2: the larger, the nearer. `collect` reads the
rounded products of a tile of centres in lanes, every 64th centre in one: vector instructions find
the largest value of each lane (0.3 us for 1,024 centres; 1.0 in runs of 64 neighbours), and the few
lanes that reach a row's limit are looked through one by one. The limit is the k-th largest value of
any lane so far, less twice what a product may be off: at least k centres reach it, so that none of
the k nearest is missed.
"""

from __future__ import annotations

import numpy as np

from regiontok.system.compiled import compiled

ROOM = 256  # centres that are kept for a row; where more are possible, the row is done in float32


@compiled(fastmath=True)
def collect_numbers(  # numba reads the types
    products, halves, first, scale, off, best, maxima, count, places, values
) -> None:
    """Collect what reaches a row's limit from `products` `[n tile]`, int32 or float32.

    Args:
        products: rounded products of rows and some centres.
        halves: `[tile]` float32, half of each of these centres' squares.
        first: the number of the first of them.
        scale: `[n]` by which a row's products are multiplied.
        off: `[n]` how far a row's scores may be off.
        best: `[n top]` the largest values of lanes so far, descending.
        maxima: `[lanes]` room for a row's largest values.
        count: `[n]` how many have been collected; more than there is room for are only counted.
        places: `[n ROOM]` the centres.
        values: `[n ROOM]` their scores.
    """
    tile = products.shape[1]
    lanes = min(len(maxima), tile)
    for row in range(products.shape[0]):
        factor = scale[row]
        numbers = products[row]
        largest = maxima[:lanes]
        for lane in range(lanes):
            largest[lane] = factor * np.float32(numbers[lane]) - halves[lane]
        for start in range(lanes, tile, lanes):
            next_numbers = numbers[start : start + lanes]
            next_halves = halves[start : start + lanes]
            for lane in range(len(next_numbers)):
                score = factor * np.float32(next_numbers[lane]) - next_halves[lane]
                largest[lane] = score if score > largest[lane] else largest[lane]
        limit = best[row, -1]
        for lane in range(lanes):
            if largest[lane] > limit:
                limit = _insert(best[row], largest[lane])
        limit -= 2 * off[row]
        for lane in range(lanes):
            if largest[lane] < limit:
                continue
            for place in range(lane, tile, lanes):
                score = factor * np.float32(numbers[place]) - halves[place]
                if score >= limit:
                    _add(row, first + place, score, count, places, values)


@compiled(fastmath=True)
def collect_bits(products, halves, first, scale, off, best, maxima, count, places, values) -> None:
    """`collect_numbers` for products in bfloat16, whose bits come as uint16 `[n tile]`."""
    wide = np.empty(products.shape[1], np.uint32)
    numbers = wide.view(np.float32).reshape(1, -1)
    for row in range(products.shape[0]):
        bits = products[row]
        for place in range(len(bits)):
            wide[place] = np.uint32(bits[place]) << np.uint32(16)
        one = slice(row, row + 1)
        collect_numbers(
            numbers,
            halves,
            first,
            scale[one],
            off[one],
            best[one],
            maxima,
            count[one],
            places[one],
            values[one],
        )


@compiled()
def _add(row, place, score, count, places, values) -> None:
    """Keep a centre for a row if there is room."""
    if count[row] < places.shape[1]:
        places[row, count[row]] = place
        values[row, count[row]] = score
    count[row] += 1


@compiled()
def _insert(best, value):
    """Put a value that is above the last into its place; gives the new last one."""
    place = len(best) - 1
    while place > 0 and best[place - 1] < value:
        best[place] = best[place - 1]
        place -= 1
    best[place] = value
    return best[-1]


@compiled()
def decide(rows, centres, halves, count, places, values, limits, ids, products) -> None:
    """Choose the nearest of the collected centres by scores in float64; the first of equals wins.

    Args:
        rows: `[n d]` float32, as they came.
        centres: `[K d]` float32, as they came.
        halves: `[K]` float64, half of each centre's square.
        count: `[n]` how many have been collected; rows with more than there is room for are left.
        places: `[n ROOM]` the centres.
        values: `[n ROOM]` their rounded scores.
        limits: `[n]` below which a rounded score is out.
        ids: `[n top]` is filled with the nearest centres, the nearest first.
        products: `[n top]` float64 is filled with their inner products.
    """
    top = ids.shape[1]
    scores = np.empty(top)
    for row in range(len(rows)):
        if count[row] > places.shape[1]:
            continue
        filled = 0
        for entry in range(count[row]):
            if values[row, entry] < limits[row]:
                continue
            centre = places[row, entry]
            product = _product(rows[row], centres[centre])
            score = product - halves[centre]
            place = filled
            while place > 0 and (
                scores[place - 1] < score
                or (scores[place - 1] == score and ids[row, place - 1] > centre)
            ):
                place -= 1
            if place == top:
                continue
            filled = min(filled + 1, top)
            for later in range(filled - 1, place, -1):
                scores[later] = scores[later - 1]
                ids[row, later] = ids[row, later - 1]
                products[row, later] = products[row, later - 1]
            scores[place], ids[row, place], products[row, place] = score, centre, product


@compiled()
def _product(one, other):
    """The inner product in float64, in eight sums: their order is written here, not chosen."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(one) // 8 * 8
    for at in range(0, whole, 8):
        a += np.float64(one[at]) * other[at]
        b += np.float64(one[at + 1]) * other[at + 1]
        c += np.float64(one[at + 2]) * other[at + 2]
        d += np.float64(one[at + 3]) * other[at + 3]
        e += np.float64(one[at + 4]) * other[at + 4]
        f += np.float64(one[at + 5]) * other[at + 5]
        g += np.float64(one[at + 6]) * other[at + 6]
        h += np.float64(one[at + 7]) * other[at + 7]
    for at in range(whole, len(one)):
        a += np.float64(one[at]) * other[at]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled()
def half_squares(centres):
    """`[K]` float64, half of each centre's square, summed in one order on every machine."""
    halves = np.empty(len(centres))
    for number in range(len(centres)):
        halves[number] = _product(centres[number], centres[number]) / 2
    return halves
