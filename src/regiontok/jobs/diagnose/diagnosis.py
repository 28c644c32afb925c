"""`regiontok diagnose`: how coherent an encoder's features are, in numbers, and what remedies
change.

Each encoder at each layer is measured on each photo (`diagnose_photo.py`) as its features come
(`raw`) and after each remedy, which a recipe can name just as well. Nothing but small numbers stays
of a photo, in `measured.jsonl` under `out` as soon as it is done: a run that was stopped goes on
with `resume`, and what was measured with another setting, photo, weight or artifact is never read.

`denoise` subtracts the mean positional artifact. So that no photo is cleaned with what it gave
itself, the artifact of the photos in one half (every second by key) is estimated on the other half.
That takes one more pass over the photos.

Position is read out of a sample of photos, drawn by seed, because the regression needs their
features together.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.picture import key_of as key_of_bytes
from regiontok.data.collect import NamedPath as Item
from regiontok.jobs.diagnose.artifact import estimate_artifacts, saved_artifacts
from regiontok.jobs.diagnose.journal import Journal, key_of
from regiontok.jobs.diagnose.photo import (
    MEASURES,
    THRESHOLDS,
    Photo,
    encode_pair,
    human_file,
    measure,
    on_host,
    seen,
)
from regiontok.jobs.diagnose.pictures import data_uri, pca_pictures, thumbnail
from regiontok.jobs.diagnose.rows import row
from regiontok.jobs.diagnose.subjects import Subject
from regiontok.measures.locality import position_readout
from regiontok.settings import registry
from regiontok.system.choices import nearest
from regiontok.system.files import replacing
from regiontok.transform.denoise import Denoise

Remedies = Mapping[
    str, Mapping[int, tuple[Any, ...]]
]  # variant -> half of the photos -> transforms
DENOISE = "denoise"
VARIANTS = {
    "raw": "",
    "rms": "rms",
    "outliers filled": "fill_outliers",
    "global filter": "globalfilter",
    DENOISE: "",
}
EXAMPLES = 2  # photos whose features are shown
PACKAGES = ("regiontok", "torch", "timm", "transformers", "numpy", "pillow", "scikit-image")


@dataclass(frozen=True)
class Options:
    """What is measured, and where it goes.

    Attributes:
        out: folder of `measured.jsonl`, `results.json` and the artifacts.
        humans: folder of human segmentations, NAME.mat (BSDS500) or NAME.png; photos without one
            have the segmenter's borders.
        segmenter: spec; borders where no human drew any.
        variants: names of `VARIANTS`.
        sample: photos that position is read out of.
        seed: of the grey blocks and of the sample.
        resume: go on where a run with the same settings stopped.
        date: what the results say; the command line gives today's.
        about: what the photos are, in words, for the page and the leaderboard.

    Raises:
        ValueError: an unknown variant, or a sample below two photos.
    """

    out: Path
    humans: Path | None = None
    segmenter: str = "felzenszwalb"
    variants: tuple[str, ...] = tuple(VARIANTS)
    sample: int = 16
    seed: int = 0
    resume: bool = False
    date: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise ValueError(
                    f"unknown variant {name!r}{nearest(name, VARIANTS)}; known: {', '.join(VARIANTS)}"
                )
        if not self.variants or self.sample < 2:
            raise ValueError(
                f"expected a variant and a sample of 2 photos or more, got {self.variants} and {self.sample}"
            )


@dataclass(frozen=True)
class Known:
    """A photo that can be read: where, its key, a hash of what draws its borders, and which half of
    the set it is in."""

    item: Item
    key: str
    borders: str
    half: int


class Diagnosis:
    """One run: photos are looked at when it is made, measured by `run`.

    Attributes:
        photos: those that can be read.
        failed: those that were set aside, each with `image` and `error`.
        total: how often `run` will call `tick`.
    """

    def __init__(
        self, subjects: Sequence[Subject], items: Sequence[Item], options: Options
    ) -> None:
        self._subjects, self._options = list(subjects), options
        self._segmenter = registry.build("segmenter", options.segmenter)
        self._borders = f"{registry.render(self._segmenter, full=True)} {self._segmenter.identity}"
        self._segments: dict[str, PixelMasks] = {}
        self.failed: list[dict[str, str]] = []
        self.photos = self._look(items)
        if not self.photos:
            raise ValueError(
                f"none of {len(items)} photos can be read; the first: {self.failed[0]['error']}"
            )
        self.total = (
            len(self._subjects) * len(self.photos) * (2 if DENOISE in options.variants else 1)
        )
        rng = np.random.default_rng(options.seed)
        chosen = rng.permutation(len(self.photos))[: options.sample]
        self._sample = [self.photos[at] for at in sorted(chosen.tolist())]
        self._journal = Journal(options.out / "measured.jsonl", resume=options.resume)

    def run(self, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Measure everything, and write `results.json`.

        Raises:
            ValueError: an encoder that can be measured on no photo.
        """
        rows, shown = [], []
        for subject in self._subjects:
            found, pictures = self._subject(subject, tick)
            rows += found
            shown.append({"subject": subject.title, "pca": pictures})
        results = {
            "command": "diagnose",
            "date": self._options.date,
            "versions": _versions(),
            "photos": {
                "count": len(self.photos),
                "about": self._options.about,
                "hash": key_of(sorted(photo.key for photo in self.photos)),
                "names": [photo.item.name for photo in self.photos],
                "position_sample": len(self._sample),
                "with_humans": sum(known.borders != self._borders for known in self.photos),
            },
            "settings": {
                **MEASURES,
                "seed": self._options.seed,
                "segmenter": self._options.segmenter,
            },
            "failed": self.failed,
            "rows": rows,
            "pictures": [self._thumbnail(known) for known in self._sample[:EXAMPLES]],
            "shown": shown,
        }
        with replacing(self._options.out / "results.json") as part:
            part.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return results

    def _look(self, items: Sequence[Item]) -> list[Known]:
        """Decode every photo once, so that what is damaged is known before hours of work; the same
        bytes count once."""
        found: dict[str, Item] = {}
        drawn: dict[str, str] = {}
        for item in items:
            try:
                photo = Photo.read(item.path, self._options.humans)
                if photo.picture.key in found:
                    raise ValueError(
                        f"{item.path}: the same bytes as {found[photo.picture.key].path}"
                    )
            except ValueError as error:
                self.failed.append({"image": str(item.path), "error": str(error)})
                continue
            path = human_file(self._options.humans, item.path)
            found[photo.picture.key] = item
            drawn[photo.picture.key] = (
                self._borders if path is None else key_of_bytes(path.read_bytes())
            )
        return [
            Known(found[key], key, drawn[key], place % 2) for place, key in enumerate(sorted(found))
        ]

    def _subject(
        self, subject: Subject, tick: Callable[[], None]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        suggested = subject.encoder.threshold
        thresholds = sorted({*THRESHOLDS, *([] if suggested is None else [float(suggested)])})
        remedies = self._remedies(subject, tick)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in remedies}
        reason = ""
        for photo in self.photos:
            try:
                for name, values in self._measured(subject, photo, remedies, thresholds).items():
                    found[name].append(values)
            except ValueError as error:
                reason = reason or str(error)
                self.failed.append(
                    {"image": str(photo.item.path), "error": f"{subject.title}: {error}"}
                )
            tick()
        if not found[next(iter(remedies))]:
            raise ValueError(
                f"{subject.title} could be measured on none of {len(self.photos)} photos; the first: {reason}"
            )
        position, shown = self._together(subject, remedies)
        head = {
            "encoder": subject.name,
            "layer": subject.layer,
            "control": subject.control,
            "fingerprint": subject.fingerprint,
        }
        rows = [
            {**head, "variant": name, **row(values, position[name], suggested)}
            for name, values in found.items()
            if values
        ]
        return rows, shown

    def _remedies(
        self, subject: Subject, tick: Callable[[], None]
    ) -> dict[str, Mapping[int, tuple[Any, ...]]]:
        """By variant, the transforms of photos in half 0 and in half 1."""
        found: dict[str, Mapping[int, tuple[Any, ...]]] = {}
        for name in self._options.variants:
            if name == DENOISE:
                found[name] = {
                    half: (transform,) for half, transform in self._denoise(subject, tick).items()
                }
            else:
                found[name] = dict.fromkeys(
                    (0, 1), registry.build_pipeline("transform", VARIANTS[name])
                )
        return found

    def _denoise(self, subject: Subject, tick: Callable[[], None]) -> dict[int, Denoise]:
        """The artifacts of this encoder on these photos; a finished pair is read again under
        `resume`."""
        photos = [(photo.key, photo.half) for photo in self.photos]
        folder = (
            self._options.out
            / "artifacts"
            / key_of(MEASURES["version"], subject.fingerprint, photos)
        )
        done = folder / "done"
        if self._options.resume and done.is_file():
            for _ in self.photos:
                tick()
            return saved_artifacts(folder)
        done.unlink(missing_ok=True)
        found = estimate_artifacts(self._grids(subject, tick), folder, subject.encoder)
        done.touch()
        return found

    def _grids(self, subject: Subject, tick: Callable[[], None]) -> Iterator[tuple[int, PatchGrid]]:
        """Every photo's grid with its half; a photo that the encoder refuses is named when it is
        measured."""
        for photo in self.photos:
            with suppress(ValueError):
                yield photo.half, on_host(subject.encoder.encode([Picture.of(photo.item.path)])[0])
            tick()

    def _measured(
        self, subject: Subject, known: Known, remedies: Remedies, thresholds: Sequence[float]
    ) -> dict[str, dict[str, Any]]:
        """Each variant's measurements of one photo, out of the journal or made now."""
        about = [
            subject.fingerprint,
            known.key,
            known.borders,
            MEASURES,
            list(thresholds),
            self._options.seed,
        ]
        keys = {
            name: key_of(*about, _text(steps[known.half]))
            for name, steps in remedies.items()
            if known.half in steps
        }
        missing = [name for name, key in keys.items() if key not in self._journal]
        if missing:
            photo = self._photo(known)
            before, after, touched = encode_pair(subject.encoder, photo, self._options.seed)
            for name in missing:
                steps = remedies[name][known.half]
                values = measure(
                    _through(steps, before), _through(steps, after), touched, photo, thresholds
                )
                self._journal.add(keys[name], values)
        return {name: self._journal[key] for name, key in keys.items()}

    def _photo(self, known: Known) -> Photo:
        photo = Photo.read(known.item.path, self._options.humans)
        if len(photo.humans):
            return photo
        if known.key not in self._segments:
            (self._segments[known.key],) = self._segmenter([photo.picture])
        return replace(photo, segments=self._segments[known.key])

    def _together(self, subject: Subject, remedies: Remedies) -> tuple[dict[str, Any], list[str]]:
        """What needs several photos' features at once: position, by variant, and the pictures of
        the first of them."""
        sample = [[known.key, known.half] for known in self._sample]
        texts = {
            name: [_text(steps[half]) for half in sorted(steps)] for name, steps in remedies.items()
        }
        keys = {
            name: key_of("together", subject.fingerprint, MEASURES, sample, text)
            for name, text in texts.items()
        }
        shown = key_of("shown", subject.fingerprint, MEASURES, sample[:EXAMPLES])
        if any(key not in self._journal for key in (*keys.values(), shown)):
            grids = [
                (known, grid)
                for known in self._sample
                if (grid := self._one(subject, known)) is not None
            ]
            for name, key in keys.items():
                if key not in self._journal:
                    own = [
                        (_through(remedies[name][known.half], grid))
                        for known, grid in grids
                        if known.half in remedies[name]
                    ]
                    self._journal.add(key, _position(own))
            if shown not in self._journal:
                self._journal.add(
                    shown,
                    [
                        data_uri(one)
                        for one in pca_pictures([seen(grid) for _, grid in grids[:EXAMPLES]])
                    ],
                )
        return {name: self._journal[key] for name, key in keys.items()}, self._journal[shown]

    def _one(self, subject: Subject, known: Known) -> PatchGrid | None:
        """A photo's grid; None if the encoder refuses the photo, which was said before."""
        with suppress(ValueError):
            return on_host(subject.encoder.encode([Picture.of(known.item.path)])[0])
        return None

    def _thumbnail(self, known: Known) -> dict[str, str]:
        return {
            "name": known.item.name,
            "photo": data_uri(thumbnail(Picture.of(known.item.path)), "JPEG"),
        }


def _through(steps: Sequence[Any], grid: PatchGrid) -> PatchGrid:
    for step in steps:
        grid = step.one(grid)
    return grid


def _text(steps: Sequence[Any]) -> list[str]:
    """What decides the transforms: a file by what it holds, not by its path."""
    return [
        f"denoise {step.version} {step.identity}"
        if isinstance(step, Denoise)
        else registry.render(step, full=True)
        for step in steps
    ]


def _position(grids: Sequence[PatchGrid]) -> dict[str, float | None]:
    """Position read out of the grids of the commonest shape."""
    fields = [seen(grid) for grid in grids]
    shapes = Counter(tuple(field.shape) for field in fields).most_common(1)
    found = (
        position_readout([field for field in fields if tuple(field.shape) == shapes[0][0]])
        if shapes
        else {}
    )
    return {key: value if math.isfinite(value) else None for key, value in found.items()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
