"""Samples of the images that a curation leaves out, reason by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regiontok.curate.duplicates import FORMAT, keep_schema
from regiontok.curate.kept import LEFT_OUT
from regiontok.curate.ocr import NO_TEXT
from regiontok.curate.pipeline import Pipeline
from regiontok.curate.sources import Source
from regiontok.curate.stage_files import is_done, read_rows
from regiontok.curate.steps import PieceStep
from regiontok.jobs.curation_report.samples import Images, Sample, small_jpeg
from regiontok.system.parquet import open_parquet, read_groups

SHOWN = 6  # images of a reason
PASSED_OVER = (LEFT_OUT, NO_TEXT)  # what an earlier stage has set aside, and what is no loss


@dataclass(frozen=True)
class Rejects:
    """What a stage sets aside for one reason.

    Attributes:
        stage: the stage.
        reason: the reason's first words.
        count: how many images it concerns, of all tars.
        samples: some of them.
    """

    stage: str
    reason: str
    count: int
    samples: Sequence[Sample]


def sampled_rejects(
    pipeline: Pipeline,
    images: Images,
    tars: Sequence[Source],
    counts: Mapping[str, Mapping[str, int]],
) -> list[Rejects]:
    """The reasons of all stages, with samples.

    Args:
        pipeline: the stages.
        images: the images of the tars.
        tars: the tars of which samples are taken.
        counts: how many images of all tars each stage sets aside, by reason.
    """
    rejects = []
    for name in pipeline.names:
        reasons = {
            reason: count
            for reason, count in counts.get(name, {}).items()
            if reason not in PASSED_OVER and count
        }
        if not reasons:
            continue
        step = pipeline.step(name)
        samples: Mapping[str, Sequence[Sample]] = {}
        if isinstance(step, PieceStep):
            samples = _samples_of(step, images, tars)
        elif name == "keep":
            samples = {"duplicate": list(_duplicates(pipeline, images, tars))}
        rejects += [
            Rejects(name, reason, count, samples.get(reason, ()))
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        ]
    return rejects


def _samples_of(step: PieceStep, images: Images, tars: Sequence[Source]) -> dict[str, list[Sample]]:
    """Images that a stage sets aside, from all tars in turn."""
    places: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for number, tar in enumerate(tars):
        if not is_done(step.stage, step.curation.out, tar):
            continue
        rows = read_rows(step.stage, step.curation.out, tar, ["index", "reason"]).to_pylist()
        taken: Counter[str] = Counter()
        for row in rows:
            word = row["reason"].split(":")[0]
            if word and word not in PASSED_OVER and taken[word] < SHOWN:
                taken[word] += 1
                places[word].append((number, row["index"], row["reason"]))
    return {
        word: [_sample(images, *place) for place in _in_turn(of_word)[:SHOWN]]
        for word, of_word in places.items()
    }


def _in_turn(places: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The first of each tar, then the second of each, and so on."""
    seen: Counter[int] = Counter()
    ranked = []
    for place in places:
        ranked.append((seen[place[0]], place))
        seen[place[0]] += 1
    return [place for _, place in sorted(ranked, key=lambda item: item[0])]


def _sample(images: Images, tar: int, number: int, reason: str) -> Sample:
    image = images.read(tar, number)
    detail = reason.partition(":")[2].strip()
    return Sample(small_jpeg(image) if image else "", detail, images.name(tar, number))


def _duplicates(pipeline: Pipeline, images: Images, tars: Sequence[Source]) -> Iterator[Sample]:
    """Duplicates, each behind the image that stays in its place."""
    numbers = {tar.name: number for number, tar in enumerate(tars)}
    pairs = 0
    for row in _keep_rows(pipeline):
        place, first = (row["shard"], row["index"]), (row["first_shard"], row["first_index"])
        if place == first or not {place[0], first[0]} <= set(numbers):
            continue
        for (shard, number), text in ((first, "stays"), (place, "is left out")):
            image = images.read(numbers[shard], number)
            name = images.name(numbers[shard], number)
            yield Sample(small_jpeg(image) if image else "", text, name)
        pairs += 1
        if pairs == SHOWN // 2:
            return


def _keep_rows(pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    path = pipeline.curation.out / "keep.parquet"
    with open_parquet(path, keep_schema(), FORMAT) as file:
        for group in range(file.num_row_groups):
            yield from read_groups(file, path, [group]).to_pylist()
