"""What `regiontok probe refer` is asked: which models learn, how, and on which expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from regiontok.jobs.probe.seeds import folder_name
from regiontok.miniworld.world import World
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.options import ProbeOptions
from regiontok.probe.refer.build import Built, SmallSizes, build_saved, build_small
from regiontok.probe.refer.generated import generated_set
from regiontok.probe.refer.published import PublishedFiles, published_set
from regiontok.probe.refer.recipes import ReferRecipe, parameter_counts
from regiontok.probe.refer.referred import ReferringSet
from regiontok.system.devices import resolve_device


@dataclass(frozen=True, kw_only=True)
class ReferData:
    """On which expressions models learn, and on which they are measured.

    Attributes:
        files: a published set; None for the generated world.
        train_split, test_split: its splits.
        limit: expressions that are measured at most; 0 measures all.
        pictures, test_pictures: pictures of the generated world.
        expressions: expressions about a generated picture of the training at most; four about one
            of the test.
        side: side of a generated picture in pixels.
    """

    files: PublishedFiles | None = None
    train_split: str = "train"
    test_split: str = "val"
    limit: int = 0
    pictures: int = 200
    test_pictures: int = 60
    expressions: int = 8
    side: int = 128

    @cached_property
    def train(self) -> ReferringSet:
        """The expressions of the training."""
        if self.files is not None:
            return published_set(self.files, self.train_split)
        return generated_set(World("train", size=self.side), self.pictures, self.expressions)

    @cached_property
    def test(self) -> ReferringSet:
        """The expressions that are measured."""
        if self.files is not None:
            return published_set(self.files, self.test_split, limit=self.limit)
        return generated_set(World("test", size=self.side), self.test_pictures, 4)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the expressions of the training."""
        return {"train": self.train.name, "expressions": len(self.train), "side": self.side}


@dataclass(frozen=True, kw_only=True)
class ReferProbe:
    """What is probed.

    Attributes:
        encoders: specs of the encoders of small models; with `vlm` its folder is the only one.
        recipe: how the models learn.
        data: on which expressions.
        out: folder of the runs.
        regions: the steps that make regions of small models' patches; "" shows every patch.
        segmenter: the segmenter that these steps need, if they do.
        sizes: of small models.
        vlm: folder of a trained RegionVLM in place of small models; None takes these.
        sam: hub name or folder of its SAM checkpoint.
        seeds: seeds of weights and orders, a run each.
        options: where and how it is carried out.
        resume: go on with runs that are in `out`.

    Raises:
        ValueError: If there is no encoder or no seed, one is named twice, or a saved model lacks a
            SAM checkpoint.
    """

    encoders: tuple[str, ...]
    recipe: ReferRecipe
    data: ReferData = field(default_factory=ReferData)
    out: Path
    regions: str = ""
    segmenter: str = ""
    sizes: SmallSizes = field(default_factory=SmallSizes)
    vlm: Path | None = None
    sam: str = ""
    seeds: tuple[int, ...] = (0,)
    options: ProbeOptions
    resume: bool = False

    def __post_init__(self) -> None:
        if self.vlm is not None and not self.sam:
            raise ValueError("a model of your own needs a SAM checkpoint: say --sam, too")
        for name, values in (("encoder", self.subjects), ("seed", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"expected one {name} at least, and none twice, got {values}")

    @property
    def subjects(self) -> tuple[str, ...]:
        """What each row of the table is about."""
        return self.encoders if self.vlm is None else (str(self.vlm),)

    def runs(self) -> Iterator[tuple[str, int, Path]]:
        """Subject, seed and folder of each run."""
        for subject in self.subjects:
            for seed in self.seeds:
                yield subject, seed, self.out / folder_name(subject) / f"seed-{seed}"

    def build(self, subject: str, seed: int) -> Built:
        """The model of a run, as it starts."""
        device = str(resolve_device(self.options.device))
        if self.vlm is not None:
            return build_saved(self.recipe, self.vlm, self.sam, device=device, seed=seed)
        features = FrozenFeatures(subject, self.options.cache, device)
        return build_small(
            self.recipe,
            features,
            regions=self.regions,
            segmenter=self.segmenter,
            seed=seed,
            sizes=self.sizes,
        )

    def plan(self) -> dict[str, Any]:
        """What would be done: the runs, what learns, and on how many expressions."""
        subject, seed, _ = next(self.runs())
        counts = parameter_counts(self.build(subject, seed).model)
        steps = self.recipe.steps_of(len(self.data.train))
        return {
            "recipe": self.recipe.name,
            "steps": steps,
            "rows_a_step": self.recipe.rows * self.recipe.batches,
            "train": about(self.data.train),
            "test": about(self.data.test),
            "learns": {part: learns for part, (learns, _) in counts.items() if learns},
            "runs": [
                {"encoder": subject, "seed": seed, "folder": str(folder)}
                for subject, seed, folder in self.runs()
            ],
        }


def about(data: ReferringSet) -> dict[str, Any]:
    """A set in a report: its name, its numbers, and what was set aside."""
    pictures = len({sample.image.name for sample in data.samples})
    return {
        "name": data.name,
        "expressions": len(data),
        "pictures": pictures,
        "set_aside": dict(data.counted),
    }
