"""Bytes that class centres take on one device: what stays, and the most of what comes and goes.

After: nothing; a count of what `regiontok.rice` allocates, held against a counted run in the tests.
Differs: an estimate. Labels are taken as uniform, regions as spread evenly over the heads, and the
allocator's waste is not counted.

For the K classes of a head, of width d, on W devices; n of the N regions of a step (all devices
together) with m labels each; s = n_negatives of this device, taken in chunks of c::

    stays        12 K d / W + 4 K / W            rows in float32, two moments, steps of each row
    gradients    4 d rows                        of the s negatives, and of positives that are none
    kept         4 n s, up to a fixed number     logits that the backward pass finds again
    positives    4 d for n m / W rows            the rows that meet them, in float32
    regions      4 N d, twice backward           gathered (in bfloat16 before), and their gradient;
                                                 once more where heads are several
    one head     4 n c, 4 c d                    a chunk of logits, and its centres, gathered
                 2 n d, 2 c d, 2 n c, 2 n d      in bfloat16: regions, centres, terms, their product
    drawing      40 K / W                        hashes of the classes, before all this
    stepping     20 d for up to 8192 rows        Adam's temporaries, after all this
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regiontok.rice.class_head import ClassHead
from regiontok.rice.rank_share import chunk_classes, kept_chunks
from regiontok.rice.row_adam import ROWS

FLOAT, HALF, INTEGER = 4, 2, 8  # bytes of float32, bfloat16 and int64
HASHES = 5  # int64 numbers a class while negatives are drawn
ADAM = 5  # copies of some rows while they are stepped
PULLED = 5  # copies of the positives' rows while their gradient is made


@dataclass(frozen=True)
class HeadLoad:
    """What one head has to do in a step.

    Attributes:
        head: the head.
        regions: n, regions of all devices that it has labels for.
        slots: m, labels of a region.
    """

    head: ClassHead
    regions: int
    slots: int

    @property
    def distinct(self) -> float:
        """Classes that are a label of some region, if labels are uniform."""
        classes = self.head.classes
        return classes * (1 - (1 - 1 / classes) ** (self.regions * self.slots))

    @property
    def drawn_share(self) -> float:
        """Share of the classes that are negatives in the step."""
        negatives, in_batch = self.head.negatives, self.distinct / self.head.classes
        shares = {
            "uniform": negatives.rho,
            "in_batch": in_batch,
            "both": 1 - (1 - negatives.rho) * (1 - in_batch),
        }
        return shares[negatives.kind]


@dataclass(frozen=True)
class CentreMemory:
    """Bytes on one device.

    Attributes:
        stays: rows, moments and steps.
        gradients: the gradients of the rows, until they are stepped.
        passing: how much more the largest moment of a step takes.
    """

    stays: float
    gradients: float
    passing: float


def centre_memory(
    loads: Sequence[HeadLoad],
    *,
    width: int,
    devices: int,
    in_bfloat16: bool,
    device: str = "cuda",
) -> CentreMemory:
    """What class centres take on one device.

    Args:
        loads: what each head has to do.
        width: d, the width of the centres.
        devices: W, the devices that share the classes.
        in_bfloat16: whether large products are computed in bfloat16.
        device: kind of the device, on which sizes of chunks depend.
    """
    parts = [_Parts(load, width, devices, in_bfloat16, device) for load in loads]
    stays = sum((12 * width + 4) * part.classes for part in parts)
    gradients = sum(FLOAT * width * part.rows for part in parts)
    gathered = FLOAT * width * sum(load.regions for load in loads)
    copies = 2 if len(loads) > 1 else 1
    tables = INTEGER * sum(2 * load.regions * load.slots for load in loads)
    sent = gathered * HALF / FLOAT if in_bfloat16 and devices > 1 else 0
    moments: list[float] = [gathered + max(sent, (copies - 1) * gathered)]  # before all chunks
    for index, part in enumerate(parts):
        before, behind = parts[: index + 1], parts[index + 1 :]
        moments.append(gathered + sum(each.kept for each in before) + part.forward)
        values = sum(FLOAT * width * each.rows for each in before)
        held = sum(each.kept for each in behind)
        moments.append(2 * gathered + values + held + part.backward)
    moments.append((1 + copies) * gathered + gradients)  # all heads are done
    exact = sum(FLOAT * width * part.positives for part in parts)
    moments = [moment + tables + exact for moment in moments]
    moments.append(HASHES * INTEGER * max(part.classes for part in parts))
    stepped = min(ROWS, max(part.rows for part in parts))
    moments.append(gradients + ADAM * FLOAT * width * stepped)
    return CentreMemory(stays, gradients, max(moments) - gradients)


class _Parts:
    """The sizes of one head's tensors on one device, in bytes but for the counts."""

    def __init__(
        self, load: HeadLoad, width: int, devices: int, in_bfloat16: bool, device: str
    ) -> None:
        n, half = load.regions, HALF if in_bfloat16 else 0
        self.classes = -(-load.head.classes // devices)
        drawn = load.drawn_share
        negatives = drawn * self.classes
        self.rows = negatives + (1 - drawn) * load.distinct / devices
        chunk = chunk_classes(n, round(negatives), device)
        logits = FLOAT * n * chunk
        chunks_kept = kept_chunks(n, chunk, round(negatives), device)
        self.kept: float = min(chunks_kept * logits, FLOAT * n * negatives)
        centres = (0 if drawn >= 1 else FLOAT * width * chunk) + half * width * chunk
        inputs = half * n * width + centres
        intermediate = max(half, 1 if load.head.loss.filter else 0) * n * chunk
        self.forward = inputs + logits + intermediate
        products = half * n * chunk + half * n * width
        again = logits if chunks_kept * chunk < negatives else 0
        chunks = inputs + products + max(self.kept, again + intermediate - products)
        self.positives = n * load.slots / devices
        self.backward = max(chunks, half * n * width + PULLED * FLOAT * width * self.positives)
