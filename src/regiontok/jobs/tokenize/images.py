"""`regiontok tokenize`: images -> region tokens, regions, a picture and a table; a folder run that
survives bad images and Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.data.collect import Item
from regiontok.jobs.tokenize.output import Setting, check_target, read_report, write_image
from regiontok.measures.naming import name_regions
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.prefetch import WORKERS, map_ahead
from regiontok.tokenizer.clock import STAGES
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import build_encoder


@dataclass(frozen=True)
class Done:
    """What became of one image: its report, or why it was set aside."""

    item: Item
    report: dict[str, Any] | None = None
    error: str | None = None
    resumed: bool = False


class Job:
    """Tokenizers that share one encoder and one segmenter, one a region spec.

    Args:
        settings: of the tokenizer; `settings.regions` is left to `regions`.
        regions: region specs; None means the encoder's own suggestion.
        name: also name each region with the encoder's classifier.
        device: where it runs.
    """

    def __init__(
        self,
        settings: TokenizerSettings,
        regions: Sequence[str] = (),
        *,
        name: bool = False,
        device: str = "cpu",
    ) -> None:
        encoder = build_encoder(settings.encoder)
        specs = list(regions) or [settings.regions or f"merge({encoder.threshold}) | sort('com')"]
        options = settings.model_dump(exclude={"encoder", "regions", "segmenter"})
        segmenter = registry.build("segmenter", settings.segmenter) if settings.segmenter else None
        by_spec: dict[str, RegionTokenizer] = {}
        for text in specs:
            tokenizer = RegionTokenizer(
                encoder, text, segmenter=segmenter, **options, device=device
            )
            by_spec.setdefault(
                tokenizer.regionizer.spec, tokenizer
            )  # two ways to write one spec are one
        self.tokenizers = list(by_spec.values())
        self.encoder = self.tokenizers[0].regionizer.encoder
        self.naming = name
        self._warm = False
        if name and not self.encoder.classes:
            raise ValueError(
                f"--name needs an encoder with a classifier of its own, say lite; {registry.name_of(self.encoder)} has none"
            )
        if name and settings.tiles:
            raise ValueError("--name names the regions of whole images: leave out the tiles")

    @property
    def specs(self) -> list[str]:
        """The region specs, as they are shown."""
        return [tokenizer.regionizer.spec for tokenizer in self.tokenizers]

    def fingerprint(self, *options: Any) -> str:
        """Hash of everything that decides the output, `options` of writing too: a resumed run never
        keeps what other settings made."""
        parts = [
            tokenizer.regionizer.fingerprint + tokenizer.settings.model_dump_json()
            for tokenizer in self.tokenizers
        ]
        return hashlib.sha256(json.dumps([parts, self.naming, options]).encode()).hexdigest()[:32]

    @torch.no_grad()
    def run(self, pictures: Sequence[Picture | Clip]) -> list[Setting]:
        """One `Setting` a spec, over the same pictures and clips: they are segmented and encoded
        once."""
        first, *others = self.tokenizers
        masks = any(tokenizer.regionizer.reads_masks for tokenizer in self.tokenizers)
        runs = [first.run(pictures, masks=masks)]
        shared = {stage: runs[0].seconds[stage] for stage in ("segment", "encode")}
        for other in others:
            run = other.run(pictures, grids=runs[0].grids)
            runs.append(replace(run, seconds={**run.seconds, **shared}))
        return [
            Setting(t.regionizer.spec, run, t.regionizer.steps)
            for t, run in zip(self.tokenizers, runs, strict=True)
        ]

    @torch.no_grad()
    def warm(self) -> None:
        """Load and compile, once, what the first image would otherwise be charged for."""
        if self._warm:
            return
        self._warm = True
        blank = Picture.of(np.zeros((64, 64, 3), np.uint8))
        for tokenizer in self.tokenizers:
            if not tokenizer.regionizer.reads_masks:
                with suppress(
                    ValueError
                ):  # a budget that no picture can meet, say: the images themselves will tell
                    tokenizer.run(blank)

    def named(self, settings: Sequence[Setting], index: int) -> list[Setting]:
        """The settings with names for the regions of one image."""
        if not self.naming:
            return list(settings)
        logits = self.encoder.logits([settings[0].run.pictures[index]])[0]
        classes = self.encoder.classes
        return [
            replace(s, names=name_regions(logits, s.run.regions[index], classes)) for s in settings
        ]


def tokenize(
    job: Job,
    items: Sequence[Item],
    out: Path,
    *,
    batch: int = 8,
    workers: int = WORKERS,
    resume: bool = False,
    rle: bool = False,
    picture: bool = True,
) -> Iterator[Done]:
    """Do the images batch by batch, and yield each when its folder is written. `workers` threads
    decode the next batch meanwhile and lay its pictures on the encoder's canvas.

    A bad image is set aside with its reason and the rest go on. With `resume`, an image whose
    report says the same settings and the same bytes is not done again.
    """
    fingerprint = job.fingerprint(rle, picture)
    prepare = job.encoder.prepare if workers else None
    decode = partial(_decode, out=out, fingerprint=fingerprint if resume else None, prepare=prepare)
    with closing(map_ahead(decode, items, workers=workers, most=batch)) as decoded:
        while part := list(islice(decoded, batch)):
            yield from (done for done in part if isinstance(done, Done))
            waiting = [done for done in part if isinstance(done, _Decoded)]
            if waiting:
                job.warm()
            yield from _batch(job, waiting, out, fingerprint, rle=rle, picture=picture)


@dataclass(frozen=True, eq=False)
class _Decoded:
    item: Item
    picture: Picture
    seconds: float


def _decode(
    item: Item,
    *,
    out: Path,
    fingerprint: str | None,
    prepare: Callable[[Picture], None] | None = None,
) -> _Decoded | Done:
    start, folder = time.perf_counter(), out / item.name
    try:
        check_target(folder)
        picture = Picture.of(item.path)
    except ValueError as error:
        return Done(item, error=str(error))
    before = read_report(folder) if fingerprint else None
    if before and before.get("fingerprint") == fingerprint and before.get("key") == picture.key:
        return Done(item, report=before, resumed=True)
    if prepare:
        prepare(picture)
    return _Decoded(item, picture, time.perf_counter() - start)


def _batch(
    job: Job, waiting: list[_Decoded], out: Path, fingerprint: str, **options: bool
) -> Iterator[Done]:
    if not waiting:
        return
    try:
        settings = job.run([decoded.picture for decoded in waiting])
    except ValueError as error:
        if len(waiting) == 1:
            yield Done(waiting[0].item, error=str(error))
            return
        for one in waiting:  # find the picture that spoils its batch
            yield from _batch(job, [one], out, fingerprint, **options)
        return
    for index, decoded in enumerate(waiting):
        item, named = decoded.item, job.named(settings, index)
        own = {"image": str(item.path), "key": decoded.picture.key, "fingerprint": fingerprint}
        report = own | report_of(named, index, decoded.seconds)
        write_image(out / item.name, index, named, report, **options)
        yield Done(item, report=report)


def report_of(settings: Sequence[Setting], index: int, decode: float = 0.0) -> dict[str, Any]:
    """What is told of one image: sizes, and for each setting regions, tokens, what every step left,
    and milliseconds by stage.

    Times of a batch are shared evenly among its images; `decode` are the seconds that decoding this
    one took.
    """
    grids = [settings[0].run.grids[view] for view in settings[0].run.views(index)]
    rows = [_row(setting, index, decode) for setting in settings]
    told: dict[str, Any] = {"size": list(grids[0].frame.image), "grid": list(grids[0].grid)}
    if len(grids) > 1:
        told["views"] = [list(grid.grid) for grid in grids]
    return told | {"patches": sum(grid.patches for grid in grids), "settings": rows}


def _row(setting: Setting, index: int, decode: float) -> dict[str, Any]:
    run, views = setting.run, setting.run.views(index)
    grids, trails = [run.grids[view] for view in views], [run.trails[view] for view in views]
    stages = list(zip(*trails, strict=True))
    patches, count = sum(grid.patches for grid in grids), len(run.pictures)
    seconds = {stage: run.seconds[stage] / count for stage in STAGES} | {"decode": decode}
    tokens = run.tokens[index]
    return {
        "spec": setting.spec,
        "steps": [
            _step(step, stages[place], stages[max(place - 1, 0)], grids)
            for place, step in enumerate((None, *setting.steps))
        ],
        "regions": sum(len(trail[-1]) for trail in trails),
        "tokens": len(tokens),
        "kept": round(len(tokens) / patches, 4),
        "ms": {stage: round(1000 * value, 3) for stage, value in seconds.items()},
    }


def _step(
    step: Any, regions: Sequence[Regions], before: Sequence[Regions], grids: Sequence[PatchGrid]
) -> dict[str, Any]:
    """Regions after one step (None: before the first), the valid patches that lie in none, the
    masks that have no region, and what a step with a budget has left out: regions, and rows
    (patches of regions).

    Of all views of an image together; a mask has a region if it has one in any view.
    """
    left = {
        "step": registry.render(step) if step else "patches",
        "regions": sum(map(len, regions)),
        "uncovered": sum(
            int((grid.valid & (own.counts == 0)).sum())
            for own, grid in zip(regions, grids, strict=True)
        ),
    }
    masks = grids[0].masks
    if step is not None and step.reads_masks and masks is not None:
        found = torch.cat([own.source for own in regions]).unique()
        left |= {"masks": len(masks), "vanished": len(masks) - len(found)}
    if step is not None and step.leaves_out:
        rows = [sum(len(own.patch) for own in each) for each in (before, regions)]
        left["left_out"] = {
            "rows": rows[0] - rows[1],
            "regions": sum(map(len, before)) - sum(map(len, regions)),
        }
    return left
