"""`regiontok tokenize` where images lie in tars: what it takes, and the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regiontok.jobs.tars.job import TarJob
    from regiontok.settings.recipe import TokenizerSettings

# options that say nothing of the tokens of tars
OF_IMAGES = (
    "clip",
    "fps",
    "rate",
    "most",
    "keep_cut",
    "name",
    "rle",
    "picture",
    "picture_format",
    "overwrite",
)


def refuse_for_tars(names: Sequence[str], specs: Sequence[str]) -> None:
    """Refuse what does not go with tars.

    Raises:
        ValueError: If an option was given that is of single images, or several region specs.
    """
    if names:
        raise ValueError(
            f"--{names[0].replace('_', '-')} is of single images and clips, and tars get tokens "
            "alone: leave it out"
        )
    if len(specs) > 1:
        raise ValueError(
            f"tars take one --regions, got {len(specs)}: run once for each, with another --out"
        )


def tokens_of_tars(
    paths: Sequence[str],
    out: Path,
    piece: int,
    settings: TokenizerSettings,
    regions: Sequence[str],
    device: str,
    batch: int,
) -> TarJob:
    """The tokens of tars: the job that is begun, or gone on with."""
    from regiontok.jobs.tars.job import open_tars
    from regiontok.jobs.tars.tokens import TokenPlan, tokens_job

    plan = TokenPlan(settings.model_dump_json(), regions[0], device, batch)
    return tokens_job(open_tars(paths, out, piece), plan)
