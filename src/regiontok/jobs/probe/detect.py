"""The job of `regiontok probe detect`: train a detector on frozen features, and score it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from regiontok.probe.detect.average_precision import average_precision, results_of
from regiontok.probe.detect.batches import (
    EncodedBatch,
    NothingToLearn,
    TrainingBatches,
    encoder_of_batches,
    read_picture,
)
from regiontok.probe.detect.coco_files import DetectionSet, read_detection_set
from regiontok.probe.detect.detector import Detector
from regiontok.probe.detect.schedules import DetectionSchedule, detection_schedule
from regiontok.probe.detect.sizes import DetectorSettings
from regiontok.probe.draws import torch_seeded
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.loop import Learner, train
from regiontok.probe.options import ProbeOptions
from regiontok.probe.processes import Processes
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes

SPLITS = ("test", "valid", "val")
SCORES, RESULTS = "scores.json", "detections.json"
TOGETHER = 8  # pictures that go through the detector together


@dataclass(frozen=True, kw_only=True)
class DetectionProbe:
    """A detector on frozen features, of one seed.

    Attributes:
        data: annotations to learn from: a file in COCO's form, or a folder that holds one. A folder
            with `train/` and one of `SPLITS` (a Roboflow export) is both sets.
        test: annotations to score against; None takes them from `data`.
        images: where pictures' names begin, for `data`; None looks beside the annotations.
        test_images: the same for `test`.
        encoder: the encoder's spec.
        size: side of its canvas in pixels; 0 is the spec's own.
        schedule: name of a schedule.
        steps, batch: instead of the schedule's; 0 keeps them.
        per_device: pictures of one pass; 0 is the whole batch.
        seed: seed of weights, order and draws.
        options: where and how it is carried out.

    Raises:
        DetectionDataError: If a data set cannot be read.
        SpecError: If the encoder's spec cannot be built.
        NothingToLearn: If no picture has an object.
        ValueError: If two sets have other categories, or a setting is out of its range.
    """

    data: Path
    test: Path | None = None
    images: Path | None = None
    test_images: Path | None = None
    encoder: str = "lite"
    size: int = 0
    schedule: str = "mini"
    steps: int = 0
    batch: int = 0
    per_device: int = 0
    seed: int = 0
    options: ProbeOptions

    @cached_property
    def training_set(self) -> DetectionSet:
        """What is learned from."""
        return read_detection_set(self._splits[0], self.images)

    @cached_property
    def test_set(self) -> DetectionSet:
        """What is scored against."""
        found = read_detection_set(self._splits[1], self.test_images)
        ours, theirs = dict(self.training_set.categories), dict(found.categories)
        if ours != theirs:
            odd = min(
                number for number in {**ours, **theirs} if ours.get(number) != theirs.get(number)
            )
            raise ValueError(
                f"{found.file} and {self.training_set.file} have other categories: number {odd} "
                f"is {theirs.get(odd)!r} and {ours.get(odd)!r}; score against a set of the same "
                "ones"
            )
        return found

    @property
    def is_first(self) -> bool:
        """True in the process that scores, of those that train."""
        return Processes.join(self.options.device).is_first

    @cached_property
    def features(self) -> FrozenFeatures:
        """The frozen encoder."""
        device = str(Processes.join(self.options.device).device)
        cache = "" if self.plan.augmentation == "jitter" else self.options.cache
        features = FrozenFeatures(self.encoder, cache, device)
        return features.at_size(self.size) if self.size else features

    @cached_property
    def plan(self) -> DetectionSchedule:
        """The schedule."""
        return detection_schedule(
            self.schedule,
            seed=self.seed,
            steps=self.steps,
            batch=self.batch,
            per_device=self.per_device,
        )

    @cached_property
    def detector(self) -> Detector:
        """The detector, with the weights of the seed."""
        frame = self.features.frame(self._with_objects[0].size)
        settings = DetectorSettings(
            classes=len(self.training_set.categories),
            masks=self.training_set.has_masks,
            sizes=self.plan.sizes,
            least_score=1e-4 if self.training_set.is_lvis else 0.05,
            most=300 if self.training_set.is_lvis else 100,
        )
        with torch_seeded(self.seed, 4):
            return Detector(self.features.width, frame.patch, settings)

    @cached_property
    def batches(self) -> TrainingBatches:
        """The batches of the training."""
        canvas = self.features.frame((64, 64)).canvas
        return TrainingBatches(
            self._with_objects,
            self.plan.batch // self.plan.optimisation.batches,
            self.plan.augmentation,
            max(canvas),
            self.seed,
        )

    def decisive(self) -> dict[str, Any]:
        """All that decides what is learned, beside the optimiser."""
        digest = hashlib.sha256(self.training_set.file.read_bytes()).hexdigest()
        return {
            "probe": "detect",
            "encoder": self.features.identity,
            "data": {"sha256": digest, "pictures": len(self._with_objects)},
            "head": asdict(self.detector.settings) | {"patch": list(self.detector.patch)},
            "batch": self.plan.batch,
            "augmentation": self.plan.augmentation,
        }

    def describe(self) -> dict[str, Any]:
        """What would be done, in numbers; nothing is encoded or written."""
        training, test = self.training_set, self.test_set
        frame = self.features.frame(self._with_objects[0].size)
        learns = sum(value.numel() for value in self.detector.parameters())
        return {
            "encoder": self.features.identity["spec"],
            "canvas": list(frame.canvas),
            "grid": list(frame.grid),
            "pictures": len(self._with_objects),
            "objects": sum(len(image.objects.classes) for image in training.images),
            "categories": len(training.categories),
            "test_pictures": len(test.images),
            "masks": training.has_masks,
            "rule": "lvis" if test.is_lvis else "coco",
            "set_aside": dict(training.set_aside),
            "notes": list(training.notes),
            "parameters": learns,
            "schedule": self.schedule,
            "steps": self.plan.optimisation.schedule.steps,
            "batch": self.plan.batch,
            "augmentation": self.plan.augmentation,
        }

    def train(
        self,
        out: Path,
        *,
        resume: bool = False,
        tell: Callable[[dict[str, Any]], None] = lambda entry: None,
    ) -> dict[str, Any]:
        """Train the detector in a folder; see `regiontok.probe.loop.train`."""
        device = torch.device(self.features.device)
        learner = Learner(
            name=f"detect seed {self.seed}",
            module=self.detector,
            batch_at=self.batches,
            loss_of=_losses,
            encode=encoder_of_batches(self.features, device),
        )
        return train(
            learner,
            self.plan.optimisation,
            ProbeFolder(out),
            settings=self.decisive(),
            options=self.options,
            resume=resume,
            tell=tell,
        )

    def score(self, out: Path, *, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Score the trained detector on the test set, and write what it found into the folder.

        The scores of a run that were written before, against the same test set, are read again.

        Args:
            out: the folder of the training.
            tick: called after each picture.

        Returns:
            `box` and `mask`: AP and its kin; `pictures` that were scored; `unreadable` ones.
        """
        folder, test = ProbeFolder(out), self.test_set
        step = max(folder.checkpoints().by_step(), default=0)
        whose = {
            "step": step,
            "test": hashlib.sha256(test.file.read_bytes()).hexdigest(),
        }
        written = folder.read_json(SCORES, {})
        if all(written.get(key) == value for key, value in whose.items()):
            return dict(written)
        unreadable: dict[str, str] = {}
        results, seen = [], []
        for image, found in self._detections(unreadable, tick):
            results += found
            seen.append(image)
        kinds = {"box": "bbox"} | ({"mask": "segm"} if test.has_masks else {})
        scores: dict[str, Any] = {
            name: average_precision(test.truth, results, kind, images=seen, lvis=test.is_lvis)
            for name, kind in kinds.items()
            if name == "box" or self.detector.settings.masks
        }
        scores |= {"pictures": len(seen), "unreadable": unreadable}
        with replacing(out / RESULTS) as temporary:
            temporary.write_bytes(json_bytes(results))
        folder.write_json(SCORES, whose | scores)
        return whose | scores

    def detections(self, out: Path) -> list[dict[str, Any]]:
        """What `score` found in the test set, in COCO's form of results."""
        written: list[dict[str, Any]] = ProbeFolder(out).read_json(RESULTS, [])
        return written

    def _detections(
        self, unreadable: dict[str, str], tick: Callable[[], None]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """The number of each test picture that can be read, and what was found in it."""
        detector, categories = self.detector.eval(), self.test_set.categories
        for images in _chunks(self.test_set.images, TOGETHER):
            pairs = [(image.id, read_picture(image, unreadable)) for image in images]
            pictures = [(number, picture) for number, picture in pairs if picture is not None]
            if pictures:
                maps = self.features.maps([picture for _, picture in pictures])
                frames = [self.features.frame(picture.size) for _, picture in pictures]
                for (number, _), found in zip(pictures, detector(maps, frames), strict=True):
                    yield number, results_of(number, found, categories)
            for _ in images:
                tick()

    @cached_property
    def _with_objects(self) -> tuple[Any, ...]:
        """Pictures that have something to learn from."""
        images = tuple(i for i in self.training_set.images if len(i.objects.classes))
        if not images:
            raise NothingToLearn(
                f"{self.training_set.file}: no picture has an object to learn from; set aside: "
                f"{dict(self.training_set.set_aside) or 'nothing'}"
            )
        return images

    @cached_property
    def _splits(self) -> tuple[Path, Path]:
        """Where the annotations of both sets are."""
        if self.test is not None:
            return self.data, self.test
        if (self.data / "train").is_dir():
            for name in SPLITS:
                if (self.data / name).is_dir():
                    return self.data / "train", self.data / name
        raise ValueError(
            f"nothing to score against: name it with --test, or give a folder with train/ and one "
            f"of {', '.join(SPLITS)} as {self.data}"
        )


def _losses(detector: Detector, batch: EncodedBatch) -> dict[str, torch.Tensor]:
    return detector.losses(batch.maps, batch.frames, batch.objects)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
