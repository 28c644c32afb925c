"""Images become region tokens, regions and a drawing, a folder for each.

A run over many images survives bad images and Ctrl-C.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from regiontok.core.picture import Picture
from regiontok.core.pixel_budget import MOST_PIXELS, announced_pixels, in_groups
from regiontok.data.collect import NamedPath
from regiontok.draw.sheet import side_by_side
from regiontok.jobs.tokenize.earlier import (
    USUAL,
    OtherOutput,
    Task,
    Wanted,
    Writing,
    task_for,
    wanted_of,
)
from regiontok.jobs.tokenize.output import SpecOutput, write_output
from regiontok.jobs.tokenize.panels import panels
from regiontok.jobs.tokenize.report import image_sizes, only_specs, sizes_of, spec_entry
from regiontok.jobs.tokenize.tables import image_table
from regiontok.jobs.tokenize.tokenizer_set import SpecResult, TokenizerSet
from regiontok.system.errors import UnusableModel
from regiontok.system.files import UnwritableName, clear_name_errors
from regiontok.system.prefetch import WORKERS, map_ahead


@dataclass(frozen=True)
class TokenizeOutcome:
    """What became of one image or clip.

    Attributes:
        source: the image or clip.
        report: what its `report.json` holds; None if it was set aside.
        error: why it was set aside; None if it was done.
        resumed: True if an earlier run had done it.
    """

    source: NamedPath
    report: dict[str, Any] | None = None
    error: str | None = None
    resumed: bool = False


def tokenize_images(
    tokenizers: TokenizerSet,
    images: Sequence[NamedPath],
    out: Path,
    *,
    batch: int = 8,
    workers: int = WORKERS,
    writing: Writing = USUAL,
) -> Iterator[TokenizeOutcome]:
    """Tokenize images batch by batch, and yield each when its folder is written.

    A bad image is set aside with its reason, and the others go on. Nothing else may write below
    `out` meanwhile; `regiontok.jobs.tokenize.command` holds the lease for it.

    Args:
        tokenizers: one for each region spec.
        images: where the images lie, and the names of their folders below `out`.
        out: folder of the results.
        batch: images that are encoded together; fewer, where they are of many pixels.
        workers: threads that decode the next batch meanwhile, and lay its pictures on the encoder's
            canvas; 0 decodes in this one.
        writing: how the folders are written.
    """
    wanted = wanted_of(tokenizers, writing)
    decode = partial(
        _decode,
        out=out,
        wanted=wanted,
        prepare=tokenizers.encoder.prepare if workers else None,
    )
    ahead = map_ahead(
        decode,
        images,
        workers=workers,
        most=batch,
        weight=lambda image: announced_pixels(image.path),
        most_weight=MOST_PIXELS,
    )
    with closing(ahead) as decoding:
        for chunk in in_groups(decoding, _pixels_of, batch):
            yield from (outcome for outcome in chunk if isinstance(outcome, TokenizeOutcome))
            decoded = [image for image in chunk if isinstance(image, _Decoded)]
            for specs in dict.fromkeys(image.task.specs for image in decoded):
                if specs:
                    tokenizers.warm_up()
                batch_images = [image for image in decoded if image.task.specs == specs]
                yield from _tokenize_batch(tokenizers.only(specs), batch_images, out, wanted)


def _pixels_of(image: _Decoded | TokenizeOutcome) -> int:
    return math.prod(image.picture.size) if isinstance(image, _Decoded) else 0


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A decoded image, what is to be made of it, and the seconds that decoding took."""

    source: NamedPath
    picture: Picture
    task: Task
    seconds: float


def _decode(
    source: NamedPath,
    *,
    out: Path,
    wanted: Wanted,
    prepare: Callable[[Picture], None] | None = None,
) -> _Decoded | TokenizeOutcome:
    """One decoded image, or its outcome if it is bad or was done before."""
    start = time.perf_counter()
    try:
        picture = Picture.of(source.path)
        with clear_name_errors(out / source.name):
            task = task_for(out / source.name, str(source.path), picture.key, wanted)
    except ValueError as error:
        return TokenizeOutcome(source, error=str(error))
    if task.is_done:
        report = only_specs(task.report, list(wanted.by_spec))
        return TokenizeOutcome(source, report=report, resumed=True)
    if prepare and task.specs:
        prepare(picture)
    return _Decoded(source, picture, task, time.perf_counter() - start)


def _tokenize_batch(
    tokenizers: TokenizerSet, images: Sequence[_Decoded], out: Path, wanted: Wanted
) -> Iterator[TokenizeOutcome]:
    """Tokenize images of which the same specs are to be made, which may be none."""
    try:
        pictures = [image.picture for image in images]
        results = tokenizers.run(pictures) if tokenizers.tokenizers else []
    except UnusableModel:
        raise
    except ValueError as error:
        if len(images) == 1:
            yield TokenizeOutcome(images[0].source, error=str(error))
            return
        for image in images:  # find the picture that spoils its batch
            yield from _tokenize_batch(tokenizers, [image], out, wanted)
        return
    for index, image in enumerate(images):
        try:
            named = tokenizers.with_names(results, index)
            yield _write_image(image, named, index, out, wanted)
        except (OtherOutput, UnwritableName) as error:
            yield TokenizeOutcome(image.source, error=str(error))


def _write_image(
    image: _Decoded, results: Sequence[SpecResult], index: int, out: Path, wanted: Wanted
) -> TokenizeOutcome:
    """Write the folder of one image of a batch."""
    head = {"image": str(image.source.path), "key": image.picture.key}
    head |= image_sizes(results, index) if results else sizes_of(image.task.report)
    outputs = [
        SpecOutput(
            result.run.tokens[index],
            image_table(result, index, rle="rle" in wanted.extras),
            spec_entry(result, index, image.seconds),
        )
        for result in results
    ]
    report = write_output(
        out / image.source.name,
        image.task,
        wanted,
        head,
        outputs,
        lambda tables, report: side_by_side(panels(image.picture, tables, report)),
    )
    return TokenizeOutcome(image.source, report=only_specs(report, list(wanted.by_spec)))
