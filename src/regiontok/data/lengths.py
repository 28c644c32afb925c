"""True lengths before training: text and visual tokens of every record, and which do not fit.

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

# Sizes of the grey pictures that tell whether the count depends on the picture: a frame that pads
# or keeps ratios gives them different grids.
_PROBE_SIZES = ((64, 64), (48, 512), (512, 48))


class VisualTokens:
    """`visual_tokens(images)` gives the number of visual tokens of each image.

    It is one number where the settings fix it; otherwise the tokenizer runs once an image.

    With `partition_on="normed"` regions follow a norm that training changes: then what is measured
    is where training starts.

    Args:
        settings: settings of the region tokenizer.
        folder: folder where measured numbers are kept (`measure` keeps its own there too), by file
            (path, size, time of change) and settings; None keeps them in memory.
        device: device that encodes pictures.
    """

    def __init__(
        self, settings: TokenizerSettings, folder: str | Path | None = None, *, device: str = "cpu"
    ) -> None:
        self.tokenizer = RegionTokenizer(**settings.model_dump(), device=device)
        self.fixed = self._fixed_count()
        identity = json.dumps([self.tokenizer.regionizer.fingerprint, settings.model_dump()])
        name = f"visual-{sha256(identity.encode()).hexdigest()[:16]}.json"
        self.folder = Path(folder) if folder else None
        self._path = self.folder / name if self.folder else None
        self._counts: dict[str, int] = _read_json(self._path)

    def __call__(self, images: Sequence[str], *, batch: int = 16) -> list[int | str]:
        """Number of tokens of each image, or the reason why it cannot be decoded."""
        if self.fixed is not None:
            return [self.fixed] * len(images)
        keys = [_content_key(image) for image in images]
        failures: dict[str, str] = {}
        waiting: dict[str, Picture] = {}
        for image, key in zip(images, keys, strict=True):
            if key not in self._counts and key not in failures and key not in waiting:
                try:
                    waiting[key] = open_picture(image)
                except PictureError as error:
                    failures[key] = str(error).replace(f"{image}: ", "picture: ", 1)
            if len(waiting) >= batch:
                self._count(waiting)
        self._count(waiting)
        return [failures.get(key) or self._counts[key] for key in keys]

    def save(self) -> None:
        """Keep the measured numbers on disk."""
        if self.fixed is None:
            _write_json(self._path, self._counts)

    def _count(self, waiting: dict[str, Picture]) -> None:
        if waiting:
            counts = self.tokenizer.run(list(waiting.values())).tokens.counts.tolist()
            self._counts.update(zip(list(waiting), counts, strict=True))
            waiting.clear()

    def _fixed_count(self) -> int | None:
        """The number of tokens of any picture; None if it depends on the picture.

        It is fixed if every picture has the same grid without padding and the steps make a fixed
        number of regions of it.
        """
        regionizer = self.tokenizer.regionizer
        if regionizer.tiling is not None or not self.tokenizer.pool.one_token:
            return None
        if any(not step.keeps_count and step.exact_count is None for step in regionizer.steps):
            return None
        grey = [Picture.of(np.full((*size, 3), 128, np.uint8)) for size in _PROBE_SIZES]
        run = self.tokenizer.run(grey, masks=False)
        counts = run.tokens.counts.tolist()
        same_grid = len({grid.grid for grid in run.grids}) == 1
        unpadded = all(bool(grid.valid.all()) for grid in run.grids)
        return counts[0] if same_grid and unpadded and len(set(counts)) == 1 else None


class VisualCounter(Protocol):
    """Whatever counts the visual tokens of images for `measure`.

    `VisualTokens` does it for one setting.
    """

    @property
    def folder(self) -> Path | None:
        """The folder where measured numbers are kept."""

    def __call__(self, images: Sequence[str]) -> list[int | str]:
        """Number of tokens of each image, or the reason why it has none."""

    def save(self) -> None:
        """Keep the measured numbers on disk."""


@dataclass(frozen=True, eq=False)
class Measure:
    """What is known of every record before training.

    Attributes:
        text: `[records]` number of text tokens, placeholders not counted; 0 where a record is set
            aside.
        visual: `[records]` number of visual tokens.
        reasons: for each record that is set aside, the reason, by the record's index.
    """

    text: Int[np.ndarray, "r"]
    visual: Int[np.ndarray, "r"]
    reasons: dict[int, str]

    @cached_property
    def lengths(self) -> Int[np.ndarray, "r"]:
        """`[records]` number of tokens that the language model sees."""
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
    visual: VisualCounter,
    *,
    max_length: int,
    overflow: Literal["error", "skip"] = "error",
    chunk: int = 256,
) -> Measure:
    """Label and count every record once.

    Ids and labels are not kept: they are made again when a record is drawn.

    Args:
        records: the records.
        labeller: makes ids and labels.
        visual: counts the visual tokens of images.
        max_length: most tokens of a record.
        overflow: what becomes of a longer record: "error", or "skip" to set it aside.
        chunk: records whose images are counted together.

    Raises:
        ValueError: If, under "error", some record is longer than `max_length`; if no record is
            left.
    """
    text_counts, reasons = _text_counts(records, labeller, visual.folder)
    visual_counts = np.zeros(len(records), np.int64)
    for start in range(0, len(records), chunk):
        chunk_indices = range(start, min(start + chunk, len(records)))
        indices = [index for index in chunk_indices if index not in reasons]
        images = [(index, image) for index in indices for image in records[index].images]
        answers = visual([image for _, image in images])
        for (index, _), answer in zip(images, answers, strict=True):
            if isinstance(answer, str):
                reasons[index] = answer
            else:
                visual_counts[index] += answer
    visual.save()
    for index in reasons:
        text_counts[index] = visual_counts[index] = 0
    lengths = text_counts + visual_counts
    too_long = np.flatnonzero(lengths > max_length)
    if len(too_long) and overflow == "error":
        longest = int(np.argmax(lengths))
        raise ValueError(
            f"{len(too_long)} of {len(records)} records are longer than max_length={max_length}; "
            f"the longest, {records[longest].id}, has {text_counts[longest]} text and "
            f"{visual_counts[longest]} visual tokens. Raise max_length, take fewer regions, or set "
            "overflow='skip' (they are set aside and counted); text and labels are never cut"
        )
    reasons |= {int(index): f"longer than max_length={max_length}" for index in too_long}
    if len(reasons) == len(records):
        raise ValueError(
            f"no record is left to train on: {Counter(reasons.values()).most_common(3)}"
        )
    return Measure(text_counts, visual_counts, reasons)


def _text_counts(
    records: Records, labeller: Labeller, folder: Path | None
) -> tuple[np.ndarray, dict[int, str]]:
    """Number of text tokens of each record, and why some records cannot be labelled.

    They are kept in `folder`: 3 ms a record (390 ids, measured) are 33 minutes for LLaVA's 665,000.
    """
    name = f"text-{sha256(f'{records.digest} {labeller.identity}'.encode()).hexdigest()[:16]}.json"
    path = folder / name if folder else None
    if stored := _read_json(path):
        reasons = {int(index): reason for index, reason in stored["reasons"].items()}
        return np.array(stored["text"], np.int64), reasons
    counts = np.zeros(len(records), np.int64)
    reasons = {}
    for index, record in enumerate(records):
        try:
            counts[index] = len(labeller(record.turns)[0]) - len(record.images)
        except RecordError as error:
            reasons[index] = str(error)
    _write_json(path, {"text": counts.tolist(), "reasons": reasons})
    return counts, reasons


def _content_key(image: str) -> str:
    """A key that tells one content of a file from another without reading it."""
    if is_generated(image):
        return image
    try:
        stat = Path(image).stat()
    except OSError:
        return image
    return f"{Path(image).resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _read_json(path: Path | None) -> dict[str, Any]:
    if path is None or not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}  # a damaged file is measured anew
    return stored if isinstance(stored, dict) else {}


def _write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_shared(path) as temporary:
            temporary.write_text(json.dumps(values), encoding="utf-8")
