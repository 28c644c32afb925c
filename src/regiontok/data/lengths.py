"""True lengths before training: text and visual tokens of every record, and which do not fit.

After: nothing published (LLaVA takes an image as 128 words, and cuts what is longer than 2,048
tokens, answers included, without a word).
Differs: a record longer than `max_length` is an error, or is set aside and counted, or is cut like
LLaVA's and counted, as the stage says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from regiontok.core.sizes import ShownBySizes
from regiontok.data.labels import Labeller
from regiontok.data.record import RecordError
from regiontok.data.records import Records
from regiontok.data.visual_tokens import VisualCounter, read_json, write_json
from regiontok.system.logs import module_logger

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

Overflow = Literal["error", "skip", "cut"]
_LOG = module_logger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Measure(ShownBySizes):
    """What is known of every record before training.

    Attributes:
        text: `[records]` number of text tokens, placeholders not counted; 0 where a record is set
            aside.
        visual: `[records]` number of visual tokens.
        reasons: for each record that is set aside, the reason, by the record's index.
        images: `[records]` number of pictures; 0 where a record cannot be labelled.
        image_tokens: `[images]` number of visual tokens of each picture, record by record.
        limit: tokens at which longer records are cut; None if none is cut.
        images_without_masks: how many different pictures have no mask at all, though masks are
            read.
    """

    text: Int[np.ndarray, "r"]
    visual: Int[np.ndarray, "r"]
    reasons: dict[int, str]
    images: Int[np.ndarray, "r"]
    image_tokens: Int[np.ndarray, "i"]
    limit: int | None = None
    images_without_masks: int = 0

    @cached_property
    def lengths(self) -> Int[np.ndarray, "r"]:
        """`[records]` number of tokens that the language model sees, after a cut."""
        uncut: np.ndarray = self.text + self.visual
        return uncut if self.limit is None else np.minimum(uncut, self.limit)

    @cached_property
    def cut(self) -> Bool[np.ndarray, "r"]:
        """`[records]` True where a record is cut at `limit`."""
        cut: np.ndarray = self.text + self.visual > self.lengths
        return cut

    @cached_property
    def keep(self) -> Bool[np.ndarray, "r"]:
        """`[records]` True where a record is trained on."""
        keep = np.ones(len(self.text), bool)
        keep[list(self.reasons)] = False
        return keep

    @property
    def counts(self) -> Counter[str]:
        """How many records are set aside, by reason."""
        return Counter(self.reasons.values())

    @property
    def with_images(self) -> Bool[np.ndarray, "r"]:
        """`[records]` True where a record has a picture."""
        return self.images > 0

    def image_tokens_of(self, index: int) -> list[int]:
        """Visual tokens of each picture of a record."""
        stop = int(self._image_stops[index])
        tokens: list[int] = self.image_tokens[stop - int(self.images[index]) : stop].tolist()
        return tokens

    @cached_property
    def _image_stops(self) -> Int[np.ndarray, "r"]:
        return self.images.cumsum()


def measure(
    records: Records,
    labeller: Labeller,
    visual: VisualCounter,
    *,
    max_length: int,
    overflow: Overflow = "error",
    chunk: int = 256,
) -> Measure:
    """Label and count every record once.

    Ids and labels are not kept: they are made again when a record is drawn.

    Args:
        records: the records.
        labeller: makes ids and labels.
        visual: counts the visual tokens of images.
        max_length: most tokens of a record.
        overflow: what becomes of a longer record: "error", "skip" to set it aside, or "cut" to lose
            what is behind `max_length` (a warning says how many records lose something).
        chunk: records whose images are counted together.

    Raises:
        ValueError: If, under "error", some record is longer than `max_length`; if an image has more
            masks than the settings have positions for; if no record is left.
    """
    text_counts, reasons = _text_counts(records, labeller, visual.folder)
    visual_counts, images_by_record = np.zeros((2, len(records)), np.int64)
    image_tokens: list[int] = []
    for start in range(0, len(records), chunk):
        chunk_indices = range(start, min(start + chunk, len(records)))
        indices = [index for index in chunk_indices if index not in reasons]
        images = [(index, image) for index in indices for image in records.images_of(index)]
        answers = visual([image for _, image in images])
        for (index, _), answer in zip(images, answers, strict=True):
            images_by_record[index] += 1
            image_tokens.append(0 if isinstance(answer, str) else answer)
            visual_counts[index] += image_tokens[-1]
            if isinstance(answer, str):
                reasons[index] = answer
    visual.save()
    visual.check_masks()
    for index in reasons:
        text_counts[index] = visual_counts[index] = 0
    if overflow != "cut":
        reasons |= _too_long(
            records, text_counts, visual_counts, max_length, raises=overflow == "error"
        )
    if len(reasons) == len(records):
        counts = Counter(reasons.values()).most_common(3)
        causes = "; ".join(f"{count} set aside: {reason}" for reason, count in counts)
        raise ValueError(f"no record is left to train on: of {len(records)}, {causes}")
    measured = Measure(
        text=text_counts,
        visual=visual_counts,
        reasons=reasons,
        images=images_by_record,
        image_tokens=np.array(image_tokens, np.int64),
        limit=max_length if overflow == "cut" else None,
        images_without_masks=visual.images_without_masks,
    )
    _warn_of_cuts(measured, max_length)
    return measured


def _too_long(
    records: Records, text: np.ndarray, visual: np.ndarray, max_length: int, *, raises: bool
) -> dict[int, str]:
    """The reason of each record that is too long, by its index; or an error of them."""
    too_long = np.flatnonzero(text + visual > max_length)
    if len(too_long) and raises:
        longest = int(np.argmax(text + visual))
        raise ValueError(
            f"{len(too_long)} of {len(records)} records are longer than max_length={max_length}; "
            f"the longest, {records[longest].id}, has {text[longest]} text and "
            f"{visual[longest]} visual tokens. Raise max_length, take fewer regions, or set "
            "overflow='skip' (they are set aside and counted) or 'cut' (what is behind max_length "
            "is lost, answers too)"
        )
    return dict.fromkeys(too_long.tolist(), f"longer than max_length={max_length}")


def _warn_of_cuts(measured: Measure, max_length: int) -> None:
    cut = int(measured.cut.sum())
    if cut:
        filled = int((measured.cut & (measured.visual >= max_length)).sum())
        _LOG.warning(
            "%d of %d records (%.1f %%) are longer than max_length=%d and are CUT there, as in "
            "LLaVA: text and answers behind it are lost, in %d records all of them, whose visual "
            "tokens alone are as many; set overflow = 'skip' to leave such records out",
            cut,
            len(measured.text),
            100 * cut / len(measured.text),
            max_length,
            filled,
        )


def _text_counts(
    records: Records, labeller: Labeller, folder: Path | None
) -> tuple[np.ndarray, dict[int, str]]:
    """Number of text tokens of each record, and why some records cannot be labelled.

    They are kept in `folder`: 3 ms a record (390 ids, measured) are 33 minutes for LLaVA's 665,000.
    """
    name = f"text-{sha256(f'{records.digest} {labeller.identity}'.encode()).hexdigest()[:16]}.json"
    path = folder / name if folder else None
    if stored := read_json(path):
        reasons = {int(index): reason for index, reason in stored["reasons"].items()}
        return np.array(stored["text"], np.int64), reasons
    counts = np.zeros(len(records), np.int64)
    reasons = {}
    for index, record in enumerate(records):
        try:
            counts[index] = len(labeller(record.turns)[0]) - len(record.images)
        except RecordError as error:
            reasons[index] = str(error)
    write_json(path, {"text": counts.tolist(), "reasons": reasons})
    return counts, reasons
