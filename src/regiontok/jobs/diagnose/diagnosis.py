"""`regiontok diagnose measure`: how coherent an encoder's features are, and what remedies change.

Each encoder at each layer is measured on each photo (`photo.py`) as its features come (`raw`) and
after each remedy, which a recipe can name just as well. Only small numbers are kept of a photo, in
`measured.jsonl` under `out` as soon as it is done: a run that was stopped goes on with `resume`,
and a measurement with another setting, photo, weight or artifact is never taken.

`denoise` subtracts the mean positional artifact. So that no photo is cleaned by itself, the
artifact of the photos in one half (every second by key) is estimated on the other half. That takes
one more pass over the photos.

Position is read out of a sample of photos, drawn by seed, because the regression needs their
features together.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from regiontok.core.grid import PatchGrid
from regiontok.data.collect import NamedPath
from regiontok.jobs.diagnose.artifact import estimate_artifacts, saved_artifacts
from regiontok.jobs.diagnose.earlier import RESULTS, check_results
from regiontok.jobs.diagnose.journal import Journal, key_of
from regiontok.jobs.diagnose.photo import (
    MEASURES,
    THRESHOLDS,
    encode_pair,
    measure,
    on_host,
    unpadded,
)
from regiontok.jobs.diagnose.photo_set import ListedPhoto, PhotoSet
from regiontok.jobs.diagnose.pictures import pca_pictures, thumbnail
from regiontok.jobs.diagnose.remedies import (
    DENOISE,
    VARIANTS,
    Remedies,
    identities,
    transformed,
)
from regiontok.jobs.diagnose.rows import row
from regiontok.jobs.diagnose.subjects import Subject
from regiontok.jobs.html_page import data_uri
from regiontok.measures.locality import position_readout
from regiontok.settings import registry
from regiontok.system.choices import nearest
from regiontok.system.errors import UnusableModel
from regiontok.system.files import replacing
from regiontok.transform.denoise import Denoise

EXAMPLES = 2  # photos whose features are shown
PACKAGES = ("regiontok", "torch", "timm", "transformers", "numpy", "pillow", "scikit-image")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of a diagnosis, and where it goes.

    Attributes:
        out: the folder of `measured.jsonl`, `results.json` and the artifacts.
        humans: the folder of human segmentations, NAME.mat (BSDS500) or NAME.png; photos without
            one have the segmenter's borders.
        segmenter: the spec of the segmenter that draws borders where no human did.
        variants: names of `VARIANTS`.
        sample: the number of photos that position is read out of.
        seed: the seed of the grey blocks and of the sample.
        resume: whether to go on where a run with the same settings stopped.
        overwrite: whether the results of another diagnosis may be replaced.
        date: the date that the results carry; the command line gives today's.
        about: a description of the photos in words, for the page and the leaderboard.

    Raises:
        ValueError: If a variant is unknown, or the sample is below two photos.
    """

    out: Path
    humans: Path | None = None
    segmenter: str = "felzenszwalb"
    variants: tuple[str, ...] = tuple(VARIANTS)
    sample: int = 16
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    date: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))  # text becomes a path
        if self.humans is not None:
            object.__setattr__(self, "humans", Path(self.humans))
        for name in self.variants:
            if name not in VARIANTS:
                raise ValueError(
                    f"unknown variant {name!r}{nearest(name, VARIANTS)}; "
                    f"known: {', '.join(VARIANTS)}"
                )
        if not self.variants or self.sample < 2:
            raise ValueError(
                "expected a variant and a sample of 2 photos or more, "
                f"got {self.variants} and {self.sample}"
            )


class Diagnosis:
    """One run: photos are decoded when it is made, and measured by `run`.

    Args:
        subjects: the encoders at their layers.
        items: paths and names of photos.
        options: the settings.

    Attributes:
        photos: the photos that can be read.
        failed: those that were set aside, each with `image` and `error`.
        total: how often `run` will call `tick`.

    Raises:
        ValueError: If no photo can be read.
        OtherDiagnosis: If `out` holds another diagnosis, which may not be overwritten.
    """

    def __init__(
        self, subjects: Sequence[Subject], items: Sequence[NamedPath], options: Options
    ) -> None:
        self._subjects, self._options = list(subjects), options
        self._set = PhotoSet(items, options.humans, options.segmenter)
        self.photos, self.failed = self._set.photos, self._set.failed
        passes = 2 if DENOISE in options.variants else 1
        self.total = len(self._subjects) * len(self.photos) * passes
        self._sample = self._set.sample(options.sample, options.seed)
        check_results(
            options.out,
            [subject.fingerprint for subject in self._subjects],
            None if options.resume else self._photos_hash(),
            self._settings(),
            overwrite=options.overwrite,
        )
        self._journal = Journal(options.out / "measured.jsonl", resume=options.resume)

    def run(self, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Measure everything, and write `results.json`.

        Raises:
            ValueError: If an encoder can be measured on no photo.
        """
        rows, examples = [], []
        for subject in self._subjects:
            subject_rows, pictures = self._subject(subject, tick)
            rows += subject_rows
            examples.append({"subject": subject.title, "pca": pictures})
        options = self._options
        results = {
            "command": "diagnose",
            "date": options.date,
            "versions": _versions(),
            "photos": {
                "count": len(self.photos),
                "about": options.about,
                "hash": self._photos_hash(),
                "names": [photo.item.name for photo in self.photos],
                "position_sample": len(self._sample),
                "with_humans": self._set.with_humans,
            },
            "settings": self._settings(),
            "failed": self.failed,
            "rows": rows,
            "pictures": [*self._thumbnails()],
            "shown": examples,
        }
        with replacing(options.out / RESULTS) as temporary:
            temporary.write_text(
                json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )
        self._journal.finish()
        return results

    def _photos_hash(self) -> str:
        return key_of(sorted(photo.key for photo in self.photos))

    def _settings(self) -> dict[str, Any]:
        options = self._options
        settings = {**MEASURES, "seed": options.seed, "segmenter": options.segmenter}
        stored: dict[str, Any] = json.loads(json.dumps(settings))  # as they are read back
        return stored

    def _subject(
        self, subject: Subject, tick: Callable[[], None]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """The rows of one encoder, and its features as pictures."""
        suggested = subject.encoder.threshold
        remedies = self._remedies(subject, tick)
        by_variant = self._all_photos(subject, remedies, tick)
        position, pictures = self._sampled(subject, remedies)
        head = {
            "encoder": subject.name,
            "layer": subject.layer,
            "control": subject.control,
            "fingerprint": subject.fingerprint,
        }
        rows = [
            {**head, "variant": name, **row(measurements, position[name], suggested)}
            for name, measurements in by_variant.items()
            if measurements
        ]
        return rows, pictures

    def _all_photos(
        self, subject: Subject, remedies: Remedies, tick: Callable[[], None]
    ) -> dict[str, list[dict[str, Any]]]:
        """The measurements of all photos, by variant."""
        suggested = subject.encoder.threshold
        thresholds = sorted({*THRESHOLDS, *([] if suggested is None else [float(suggested)])})
        by_variant: dict[str, list[dict[str, Any]]] = {name: [] for name in remedies}
        reason = ""
        for photo in self.photos:
            try:
                for name, values in self._photo(subject, photo, remedies, thresholds).items():
                    by_variant[name].append(values)
            except UnusableModel:
                raise
            except ValueError as error:
                reason = reason or str(error)
                message = f"{subject.title}: {error}"
                self.failed.append({"image": str(photo.item.path), "error": message})
            tick()
        if not by_variant[next(iter(remedies))]:
            raise ValueError(
                f"{subject.title} could be measured on none of {len(self.photos)} photos; "
                f"the first: {reason}"
            )
        return by_variant

    def _remedies(self, subject: Subject, tick: Callable[[], None]) -> Remedies:
        remedies: dict[str, Mapping[int, tuple[Any, ...]]] = {}
        for name in self._options.variants:
            if name == DENOISE:
                denoise = self._denoise(subject, tick)
                remedies[name] = {half: (transform,) for half, transform in denoise.items()}
            else:
                pipeline = registry.build_pipeline("transform", VARIANTS[name])
                remedies[name] = dict.fromkeys((0, 1), pipeline)
        return remedies

    def _denoise(self, subject: Subject, tick: Callable[[], None]) -> dict[int, Denoise]:
        """`Denoise` by half; finished artifacts are taken from disk under `resume`."""
        photos = [(photo.key, photo.half) for photo in self.photos]
        name = key_of(MEASURES["version"], subject.fingerprint, photos)
        folder = self._options.out / "artifacts" / name
        done = folder / "done"
        if self._options.resume and done.is_file():
            for _ in self.photos:
                tick()
            return saved_artifacts(folder)
        done.unlink(missing_ok=True)
        transforms = estimate_artifacts(self._grids(subject, tick), folder, subject.encoder)
        if not self._set.changed:
            done.touch()
        return transforms

    def _grids(self, subject: Subject, tick: Callable[[], None]) -> Iterator[tuple[int, PatchGrid]]:
        """The half and the grid of each photo that the encoder takes."""
        for photo in self.photos:
            grid = self._encoded(subject, photo)
            if grid is not None:
                yield photo.half, grid
            tick()

    def _photo(
        self, subject: Subject, listed: ListedPhoto, remedies: Remedies, thresholds: Sequence[float]
    ) -> dict[str, dict[str, Any]]:
        """The measurements of one photo by variant, out of the journal or made now."""
        seed = self._options.seed
        decisive = [subject.fingerprint, listed.key, listed.borders, MEASURES, list(thresholds)]
        keys = {
            name: key_of(*decisive, seed, identities(by_half[listed.half]))
            for name, by_half in remedies.items()
            if listed.half in by_half
        }
        missing = [name for name, key in keys.items() if key not in self._journal]
        if missing:
            photo = self._set.read(listed)
            grid, occluded, touched = encode_pair(subject.encoder, photo, seed)
            for name in missing:
                transforms = remedies[name][listed.half]
                pair = transformed(grid, transforms), transformed(occluded, transforms)
                self._journal.add(keys[name], measure(*pair, touched, photo, thresholds))
        return {name: self._journal[key] for name, key in keys.items()}

    def _encoded(self, subject: Subject, photo: ListedPhoto) -> PatchGrid | None:
        """A photo's grid; None if it has changed or the encoder refuses it: measuring says so."""
        with suppress(ValueError):
            return on_host(subject.encoder.encode([self._set.picture(photo)])[0])
        return None

    def _thumbnails(self) -> Iterator[dict[str, str]]:
        """The first photos of the sample in small; one that has changed is left out."""
        for photo in self._sample[:EXAMPLES]:
            with suppress(ValueError):
                image = thumbnail(self._set.picture(photo))
                yield {"name": photo.item.name, "photo": data_uri(image, "JPEG")}

    def _sampled(self, subject: Subject, remedies: Remedies) -> tuple[dict[str, Any], list[str]]:
        """Results that need the features of several photos at once.

        Returns:
            How well position can be read out, by variant; and pictures of the first photos.
        """
        sample = [[photo.key, photo.half] for photo in self._sample]
        keys = {}
        for name, by_half in remedies.items():
            texts = [identities(by_half[half]) for half in sorted(by_half)]
            keys[name] = key_of("together", subject.fingerprint, MEASURES, sample, texts)
        pictures = key_of("shown", subject.fingerprint, MEASURES, sample[:EXAMPLES])
        missing = [name for name, key in keys.items() if key not in self._journal]
        if missing or pictures not in self._journal:
            encoded = [(photo.half, self._encoded(subject, photo)) for photo in self._sample]
            grids = [(half, grid) for half, grid in encoded if grid is not None]
            # what a photo that changed is missing from holds for this run alone
            is_kept = not self._set.changed & {photo.key for photo in self._sample}
            for name in missing:
                by_half = remedies[name]
                cleaned = [transformed(g, by_half[half]) for half, g in grids if half in by_half]
                self._journal.add(keys[name], _position(cleaned), keep=is_kept)
            if pictures not in self._journal:
                features = [unpadded(grid) for _, grid in grids[:EXAMPLES]]
                images = [data_uri(image) for image in pca_pictures(features)]
                self._journal.add(pictures, images, keep=is_kept)
        return {name: self._journal[key] for name, key in keys.items()}, self._journal[pictures]


def _position(grids: Sequence[PatchGrid]) -> dict[str, float | None]:
    """Position read out of the grids of the commonest shape."""
    if not grids:
        return {}
    fields = [unpadded(grid) for grid in grids]
    shape = Counter(tuple(field.shape) for field in fields).most_common(1)[0][0]
    metrics = position_readout([field for field in fields if tuple(field.shape) == shape])
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
