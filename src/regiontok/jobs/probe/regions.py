"""`regiontok probe regions`: several encoders on the same labelled regions, split by split."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regiontok.jobs.diagnose.subjects import subjects
from regiontok.measures.knn import LabelledRegions
from regiontok.probe.regions.features import EncoderSubject, Subject
from regiontok.probe.regions.judge import (
    PROBES,
    RESAMPLES,
    ProbeScore,
    frequent_classes,
    judged,
    split_images,
)
from regiontok.probe.regions.labelled import LabelledSet
from regiontok.probe.regions.region_rows import RegionRows
from regiontok.probe.regions.table import RowTable, joined_tables, kept_table
from regiontok.system.choices import check_choice

TOKENS = ("regions", "patches")


@dataclass(frozen=True)
class RegionProbeOptions:
    """The settings of a region probe.

    Attributes:
        probes: which of `PROBES`.
        k: neighbours of k-NN.
        seeds: number of splits of the images, each drawn by its number.
        test_share: share of the images that test.
        fewest: images that a class lies in at least, or its regions are left out.
        patches: patch tokens of an image at most, drawn by seed; 0 judges regions alone.
        resamples: resamples of the bootstrap over test images.
        cache: a folder in which rows are kept; None keeps none.

    Raises:
        ValueError: If a number is out of its range, or a probe is unknown.
    """

    probes: tuple[str, ...] = PROBES
    k: int = 10
    seeds: int = 1
    test_share: float = 0.5
    fewest: int = 4
    patches: int = 32
    resamples: int = RESAMPLES
    cache: Path | None = None

    def __post_init__(self) -> None:
        for probe in self.probes:
            check_choice("probe", probe, PROBES)
        if min(self.k, self.seeds, self.fewest) < 1 or min(self.patches, self.resamples) < 0:
            raise ValueError(
                "k, seeds and fewest are 1 or more, patches and resamples 0 or more; got "
                f"{self.k}, {self.seeds}, {self.fewest}, {self.patches}, {self.resamples}"
            )
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share lies between 0 and 1, got {self.test_share}")


@dataclass(frozen=True)
class ProbeRow:
    """One row of the result: a subject, what of it is judged, a probe, and its scores by split.

    Attributes:
        subject: what was judged.
        tokens: "regions" or "patches".
        width: length of its rows.
        scores: one for each split.
    """

    subject: str
    tokens: str
    width: int
    scores: tuple[ProbeScore, ...]

    @property
    def probe(self) -> str:
        """The probe's name."""
        return self.scores[0].probe

    def report(self) -> dict[str, Any]:
        """The row as JSON has it; figures are shares, means over the splits.

        `spread` is the standard deviation over splits; `low` and `high` are the means of the ends
        of the splits' intervals.
        """
        first = self.scores[0]
        accuracies = [score.accuracy.value for score in self.scores]
        return {
            "encoder": self.subject,
            "tokens": self.tokens,
            "probe": self.probe,
            "width": self.width,
            "accuracy": _mean(accuracies),
            "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else math.nan,
            "low": _mean([score.accuracy.low for score in self.scores]),
            "high": _mean([score.accuracy.high for score in self.scores]),
            "class_accuracy": _mean([score.class_accuracy.value for score in self.scores]),
            "majority": _mean([score.majority for score in self.scores]),
            "chance": _mean([score.chance for score in self.scores]),
            "train": first.train,
            "test": first.test,
            "images": first.images,
            "splits": [asdict(score) for score in self.scores],
        }


@dataclass(frozen=True)
class RegionProbeResult:
    """What a region probe gives.

    Attributes:
        rows: the rows, subject by subject.
        classes: number of classes that are judged.
        left_out: regions of the set that are not used, by reason.
        rare: regions of classes that lie in too few images.
        failed: images that could not be read.
    """

    rows: tuple[ProbeRow, ...]
    classes: int
    left_out: dict[str, int]
    rare: int
    failed: list[dict[str, str]]


def judged_subjects(
    encoders: Sequence[str],
    *,
    layers: str = "",
    control: bool = False,
    region_rows: Sequence[str] = (),
    device: str = "cpu",
) -> list[Subject]:
    """What a command line names.

    Args:
        encoders: specs of encoders.
        layers: see `regiontok.jobs.diagnose.subjects.subjects`.
        control: whether to add networks with random weights.
        region_rows: exported RICE encoders whose region layer is judged, too.
        device: where they run.

    Raises:
        ValueError: If nothing is named, or something cannot be read.
    """
    if not encoders and not region_rows:
        raise ValueError("name at least one encoder; `regiontok ls encoder` lists them")
    named = subjects(encoders, layers, control=control, device=device) if encoders else []
    found: list[Subject] = [
        EncoderSubject(subject.encoder, subject.title, subject.fingerprint) for subject in named
    ]
    return found + [RegionRows.of(folder, device) for folder in region_rows]


def probe_regions(
    judged_by: Sequence[Subject],
    data: LabelledSet,
    options: RegionProbeOptions,
    *,
    test: LabelledSet | None = None,
    tick: Callable[[], None] = lambda: None,
) -> RegionProbeResult:
    """Judge subjects on labelled regions, all on the same splits.

    Args:
        judged_by: what is judged.
        data: the labelled set.
        options: the settings.
        test: a set of its own for testing; then there is one split.
        tick: called with each image of each subject.

    Raises:
        ValueError: If a set has no usable region, or cannot be divided.
    """
    rows: list[ProbeRow] = []
    first: RowTable | None = None
    rare = classes = 0
    for subject in judged_by:
        table = kept_table(subject, data, cache=options.cache, most=options.patches, tick=tick)
        if test is not None:
            tested = kept_table(subject, test, cache=options.cache, most=options.patches, tick=tick)
            table = joined_tables(table, tested, len(data))
        first = first or table
        for tokens in TOKENS:
            all_rows = table.regions if tokens == "regions" else table.tokens
            if not len(all_rows.labels):
                continue
            common = frequent_classes(all_rows, options.fewest)
            if tokens == "regions":
                rare = int((common.labels < 0).sum())
                classes = len(common.labels[common.labels >= 0].unique())
            boundary = len(data) if test is not None else None
            rows += _rows_of(subject, tokens, common, table.classes, options, boundary)
    assert first is not None, "there is at least one subject"
    return RegionProbeResult(tuple(rows), classes, first.left_out, rare, first.failed)


def _rows_of(
    subject: Subject,
    tokens: str,
    data: LabelledRegions,
    names: tuple[str, ...],
    options: RegionProbeOptions,
    boundary: int | None,
) -> Iterator[ProbeRow]:
    """The rows of one subject: every probe on every split."""
    assert data.images is not None, "rows of a table have images"
    splits = range(options.seeds if boundary is None else 1)
    sides = [
        split_images(data.images, options.test_share, seed)
        if boundary is None
        else (data.images < boundary, data.images >= boundary)
        for seed in splits
    ]
    for probe in options.probes:
        scores = tuple(
            judged(
                _where(data, train),
                _where(data, test),
                names,
                probe=probe,
                k=options.k,
                seed=seed,
                resamples=options.resamples,
            )
            for seed, (train, test) in zip(splits, sides, strict=True)
        )
        yield ProbeRow(subject.title, tokens, data.features.shape[1], scores)


def _where(data: LabelledRegions, where: Any) -> LabelledRegions:
    assert data.images is not None, "rows of a table have images"
    return LabelledRegions(data.features[where], data.labels[where], data.images[where])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
