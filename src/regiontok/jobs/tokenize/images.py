"""`regiontok tokenize`: images become region tokens, regions and a drawing, a folder for each.

A run over many images survives bad images and Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from regiontok.core.picture import Picture
from regiontok.data.collect import NamedPath
from regiontok.jobs.tokenize.output import check_target, write_image
from regiontok.jobs.tokenize.report import image_report, read_report
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
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
    resume: bool = False,
    rle: bool = False,
    picture: bool = True,
) -> Iterator[TokenizeOutcome]:
    """Tokenize images batch by batch, and yield each when its folder is written.

    A bad image is set aside with its reason, and the others go on.

    Args:
        tokenizers: one for each region spec.
        images: where the images lie, and the names of their folders below `out`.
        out: folder of the results.
        batch: images that are encoded together.
        workers: threads that decode the next batch meanwhile, and lay its pictures on the encoder's
            canvas; 0 decodes in this one.
        resume: skip an image whose report says the same settings and the same bytes.
        rle: also write each region's pixels as COCO run lengths.
        picture: also draw the regions.
    """
    fingerprint = tokenizers.fingerprint(rle, picture)
    decode = partial(
        _decode,
        out=out,
        done_as=fingerprint if resume else None,
        prepare=tokenizers.encoder.prepare if workers else None,
    )
    with closing(map_ahead(decode, images, workers=workers, most=batch)) as decoding:
        while chunk := list(islice(decoding, batch)):
            yield from (outcome for outcome in chunk if isinstance(outcome, TokenizeOutcome))
            decoded = [image for image in chunk if isinstance(image, _Decoded)]
            if decoded:
                tokenizers.warm_up()
            yield from _tokenize_batch(
                tokenizers, decoded, out, fingerprint, rle=rle, picture=picture
            )


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A decoded image, and the seconds that decoding took."""

    source: NamedPath
    picture: Picture
    seconds: float


def _decode(
    source: NamedPath,
    *,
    out: Path,
    done_as: str | None,
    prepare: Callable[[Picture], None] | None = None,
) -> _Decoded | TokenizeOutcome:
    """One decoded image, or its outcome if it is bad or was done with the fingerprint `done_as`."""
    start, folder = time.perf_counter(), out / source.name
    try:
        check_target(folder)
        picture = Picture.of(source.path)
    except ValueError as error:
        return TokenizeOutcome(source, error=str(error))
    report = finished_report(folder, done_as, picture.key) if done_as else None
    if report:
        return TokenizeOutcome(source, report=report, resumed=True)
    if prepare:
        prepare(picture)
    return _Decoded(source, picture, time.perf_counter() - start)


def finished_report(folder: Path, fingerprint: str, key: str) -> dict[str, Any] | None:
    """The report of an image or clip of that key, if it was done with that fingerprint."""
    report = read_report(folder)
    if report and report.get("fingerprint") == fingerprint and report.get("key") == key:
        return report
    return None


def _tokenize_batch(
    tokenizers: TokenizerSet,
    images: Sequence[_Decoded],
    out: Path,
    fingerprint: str,
    **writing: bool,
) -> Iterator[TokenizeOutcome]:
    if not images:
        return
    try:
        results = tokenizers.run([image.picture for image in images])
    except ValueError as error:
        if len(images) == 1:
            yield TokenizeOutcome(images[0].source, error=str(error))
            return
        for image in images:  # find the picture that spoils its batch
            yield from _tokenize_batch(tokenizers, [image], out, fingerprint, **writing)
        return
    for index, image in enumerate(images):
        named = tokenizers.with_names(results, index)
        report = {
            "image": str(image.source.path),
            "key": image.picture.key,
            "fingerprint": fingerprint,
            **image_report(named, index, image.seconds),
        }
        write_image(out / image.source.name, named, index, report, **writing)
        yield TokenizeOutcome(image.source, report=report)
