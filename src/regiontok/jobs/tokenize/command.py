"""`regiontok tokenize`: clips and images into one output folder, which no other process writes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from regiontok.data.collect import NamedPath, separate_names
from regiontok.jobs.tokenize.clips import ALL_FRAMES, Sampling, tokenize_clips
from regiontok.jobs.tokenize.earlier import USUAL, Writing
from regiontok.jobs.tokenize.images import TokenizeOutcome, tokenize_images
from regiontok.jobs.tokenize.index import RunIndex
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.system.lease import folder_lease
from regiontok.system.prefetch import WORKERS


def tokenize(
    tokenizers: TokenizerSet,
    images: Sequence[NamedPath],
    out: str | Path,
    *,
    clips: Sequence[NamedPath] = (),
    sampling: Sampling = ALL_FRAMES,
    batch: int = 8,
    workers: int = WORKERS,
    writing: Writing = USUAL,
) -> Iterator[TokenizeOutcome]:
    """Tokenize clips, then images, and yield each when its folder is written.

    Bad ones are set aside with their reason, and so is an image that would go to the folder of
    another one of this call. `.index.jsonl` is written at the end, also if the run is stopped.

    Args:
        tokenizers: one for each region spec.
        images: where the images lie, and the names of their folders below `out`.
        out: folder of the results.
        clips: where the clips lie, and the names of their folders.
        sampling: which frames make a clip.
        batch: images that are encoded together.
        workers: see `tokenize_images`.
        writing: how the folders are written.

    Raises:
        FolderInUse: If another process writes into the folder.
        ValueError: If the folder has a file of the index's name that is no index.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lease(out):
        index = RunIndex(out)
        separate_clips, same_name = separate_names(clips)
        separate_images, others = separate_names(images, *separate_clips)

        def outcomes() -> Generator[TokenizeOutcome, None, None]:
            for source, reason in (*same_name, *others):
                yield TokenizeOutcome(source, error=reason)
            yield from tokenize_clips(tokenizers, separate_clips, out, sampling, writing=writing)
            yield from tokenize_images(
                tokenizers, separate_images, out, batch=batch, workers=workers, writing=writing
            )

        try:
            with closing(outcomes()) as running:
                for outcome in running:
                    index.add(outcome)
                    yield outcome
        finally:
            index.write()
