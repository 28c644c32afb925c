"""True lengths before training: text tokens and visual tokens of every record, and which records do
not fit.

After: nothing published (LLaVA takes an image as 128 words, and cuts what is longer than 2,048
tokens, answers included).
Differs: nothing is cut: a record longer than `max_length` is an error, or set aside and counted, as
the stage says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from regiontok.core.picture import Picture, PictureError
from regiontok.data.generated import is_generated
from regiontok.data.labels import Labeller
from regiontok.data.records import RecordError, Records, open_picture
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.files import replacing_shared
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class VisualTokens:
    """`count(images)` -> visual tokens of each: one number where the spec fixes it, else measured
    by running the tokenizer once.

    With `partition_on="normed"` regions follow a norm that training changes: then what is measured
    is where training starts.

    Args:
        settings: of the region tokenizer.
        folder: where measured numbers are kept (`measure` keeps its own there too), by file (path,
            size, time of change) and settings; None keeps them in memory.
        device: where pictures are encoded.
    """

    def __init__(
        self, settings: TokenizerSettings, folder: str | Path | None = None, *, device: str = "cpu"
    ) -> None:
        self.tokenizer = RegionTokenizer(**settings.model_dump(), device=device)
        self.fixed = self._fixed()
        own = json.dumps([self.tokenizer.regionizer.fingerprint, settings.model_dump()])
        self.folder = Path(folder) if folder else None
        self._path = (
            self.folder / f"visual-{sha256(own.encode()).hexdigest()[:16]}.json"
            if self.folder
            else None
        )
        self._known: dict[str, int] = _kept(self._path)

    def __call__(self, images: Sequence[str], *, batch: int = 16) -> list[int | str]:
        """Tokens of each image, or why it has none (it cannot be decoded)."""
        if self.fixed is not None:
            return [self.fixed] * len(images)
        keys = [_changed(image) for image in images]
        bad: dict[str, str] = {}
        waiting: dict[str, Picture] = {}
        for image, key in zip(images, keys, strict=True):
            if key not in self._known and key not in bad and key not in waiting:
                try:
                    waiting[key] = open_picture(image)
                except PictureError as error:
                    bad[key] = _reason(error, image)
            if len(waiting) >= batch:
                self._measure(waiting)
        self._measure(waiting)
        return [bad.get(key) or self._known[key] for key in keys]

    def save(self) -> None:
        """Keep on disk what was measured."""
        if self.fixed is None:
            _keep(self._path, self._known)

    def _measure(self, waiting: dict[str, Picture]) -> None:
        if waiting:
            counts = self.tokenizer.run(list(waiting.values())).tokens.counts.tolist()
            self._known.update(zip(list(waiting), counts, strict=True))
            waiting.clear()

    def _fixed(self) -> int | None:
        """The count, if every picture has the same grid without padding and the steps make a fixed
        number of regions of it."""
        regionizer = self.tokenizer.regionizer
        if regionizer.tiling is not None or not self.tokenizer.pool.one_token:
            return None
        if any(not step.keeps_count and step.exact_count is None for step in regionizer.steps):
            return None
        shapes = (
            (64, 64),
            (48, 512),
            (512, 48),
        )  # a frame that pads or keeps ratios gives them other grids
        run = self.tokenizer.run(
            [Picture.of(np.full((*shape, 3), 128, np.uint8)) for shape in shapes], masks=False
        )
        counts = run.tokens.counts.tolist()
        one = len({grid.grid for grid in run.grids}) == 1 and all(
            bool(grid.valid.all()) for grid in run.grids
        )
        return counts[0] if one and len(set(counts)) == 1 else None


class Counts(Protocol):
    """What `measure` asks: visual tokens of images. `VisualTokens` does it for one setting."""

    @property
    def folder(self) -> Path | None:
        """Where measured numbers are kept."""

    def __call__(self, images: Sequence[str]) -> list[int | str]:
        """Tokens of each image, or why it has none."""

    def save(self) -> None:
        """Keep on disk what was measured."""


@dataclass(frozen=True, eq=False)
class Measure:
    """What is known of every record before training.

    Attributes:
        text: `[records]` text tokens, placeholders not counted; 0 where a record is set aside.
        visual: `[records]` visual tokens.
        reasons: record -> why it is set aside.
    """

    text: Int[np.ndarray, "r"]
    visual: Int[np.ndarray, "r"]
    reasons: dict[int, str]

    @cached_property
    def lengths(self) -> Int[np.ndarray, "r"]:
        """`[records]` tokens that the language model sees."""
        return self.text + self.visual

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


def measure(
    records: Records,
    labeller: Labeller,
    visual: Counts,
    *,
    max_length: int,
    overflow: Literal["error", "skip"] = "error",
    at_once: int = 256,
) -> Measure:
    """Label and count every record once. Ids and labels are not kept: they are made again when a
    record is drawn.

    Raises:
        ValueError: under "error" some record is longer than `max_length`; no record is left.
    """
    text, reasons = _text(records, labeller, visual.folder)
    seen = np.zeros(len(records), np.int64)
    for first in range(0, len(records), at_once):
        places = [
            place
            for place in range(first, min(first + at_once, len(records)))
            if place not in reasons
        ]
        images = [(place, image) for place in places for image in records[place].images]
        for (place, _), found in zip(images, visual([image for _, image in images]), strict=True):
            if isinstance(found, str):
                reasons[place] = found
            else:
                seen[place] += found
    visual.save()
    for place in reasons:
        text[place] = seen[place] = 0
    long = np.flatnonzero(text + seen > max_length)
    if len(long) and overflow == "error":
        worst = int(np.argmax(text + seen))
        raise ValueError(
            f"{len(long)} of {len(records)} records are longer than max_length={max_length}; the longest, {records[worst].id}, has "
            f"{text[worst]} text and {seen[worst]} visual tokens. Raise max_length, take fewer regions, or set overflow='skip' "
            "(they are set aside and counted); text and labels are never cut"
        )
    reasons |= {int(place): f"longer than max_length={max_length}" for place in long}
    if len(reasons) == len(records):
        raise ValueError(
            f"no record is left to train on: {Counter(reasons.values()).most_common(3)}"
        )
    return Measure(text, seen, reasons)


def _text(
    records: Records, labeller: Labeller, folder: Path | None
) -> tuple[np.ndarray, dict[int, str]]:
    """Text tokens of each record, and why some cannot be labelled; kept in `folder`: 3 ms a record
    (390 ids, measured) are 33 minutes for LLaVA's 665,000."""
    name = f"text-{sha256(f'{records.digest} {labeller.identity}'.encode()).hexdigest()[:16]}.json"
    path = folder / name if folder else None
    if known := _kept(path):
        return np.array(known["text"], np.int64), {
            int(place): reason for place, reason in known["reasons"].items()
        }
    text = np.zeros(len(records), np.int64)
    reasons: dict[int, str] = {}
    for place, record in enumerate(records):
        try:
            text[place] = len(labeller(record.turns)[0]) - len(record.images)
        except RecordError as error:
            reasons[place] = str(error)
    _keep(path, {"text": text.tolist(), "reasons": reasons})
    return text, reasons


def _changed(image: str) -> str:
    """What tells one content of a file from another without reading it."""
    if is_generated(image):
        return image
    try:
        stat = Path(image).stat()
    except OSError:
        return image
    return f"{Path(image).resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _reason(error: PictureError, image: str) -> str:
    return str(error).replace(f"{image}: ", "picture: ", 1)


def _kept(path: Path | None) -> dict[str, Any]:
    if path is None or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}  # a damaged list is measured anew
    return found if isinstance(found, dict) else {}


def _keep(path: Path | None, what: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_shared(path) as part:
            part.write_text(json.dumps(what), encoding="utf-8")
