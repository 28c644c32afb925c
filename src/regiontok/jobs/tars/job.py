"""What `regiontok masks` and `regiontok tokenize` have in common where images lie in tars.

The pieces are those of `regiontok curate`, done by the same engines: a run goes on after any stop,
two runs at once do each other no harm, and the bytes are the same whoever did them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regiontok.curate.engines.engine import Engine
from regiontok.curate.run import PieceOutcome, run_steps
from regiontok.curate.steps import PieceStep, PieceSteps
from regiontok.curate.tars import Curation, open_curation
from regiontok.curate.verify import Finding, verify
from regiontok.data.walk import LeftOut, pictures_below, tars_below


def are_tars(words: Sequence[str]) -> bool:
    """True if every word of a command line is a tar, or a folder with tars and without images."""
    return bool(words) and all(_is_tar(Path(word)) for word in words)


def _is_tar(path: Path) -> bool:
    if path.is_dir():
        return bool(tars_below(path)) and next(_pictures(path), None) is None
    return path.suffix.lower() == ".tar" and path.is_file()


def _pictures(folder: Path) -> Iterator[Path]:
    return iter(pictures_below(folder, LeftOut(), lambda error: None))


def open_tars(words: Sequence[str], out: Path, piece: int) -> Curation:
    """The images of some tars, listed when the work begins, and the folder of what comes of them.

    Args:
        words: tars and folders of tars.
        out: the folder.
        piece: images of a piece.

    Raises:
        CurationError: If there are no images, two tars have one name, or the folder is of other
            tars or pieces.
        ShardError: If a tar is missing.
    """
    return open_curation(out, [str(Path(word).absolute()) for word in words], piece)


@dataclass(frozen=True)
class TarJob:
    """Stages over the images of tars.

    Attributes:
        curation: the tars, and the folder of what comes of them.
        steps: the stages.
    """

    curation: Curation
    steps: tuple[PieceStep, ...]

    def run(self, *, workers: int = 0, engine: Engine | None = None) -> Iterator[PieceOutcome]:
        """Do the missing pieces; yields each when it is there, or cannot be done.

        Args:
            workers: processes, one thread each; 0 does the work in this one.
            engine: does the pieces, in the place of `workers`.
        """
        for step in self.steps:
            if step.missing:
                step.before()
        has_failed = False
        for outcome in run_steps(self.steps, workers=workers, engine=engine):
            has_failed |= outcome.error is not None
            yield outcome
        if not has_failed:
            for step in self.steps:
                step.after()

    @property
    def pieces(self) -> PieceSteps:
        """What is missing."""
        return PieceSteps(self.steps)

    def unreadable(self) -> list[dict[str, str]]:
        """The tars that could not be read when the work began."""
        return [{"image": tar, "error": why} for tar, why in self.curation.unreadable]

    def status(self) -> dict[str, Any]:
        """How far the work is, as one JSON object: tars, images, and of each stage how many."""
        progress = [step.progress for step in self.steps]
        return {
            "tars": len(self.curation.tars),
            "images": sum(tar.images for tar in self.curation.tars),
            "stages": [
                asdict(stage) | {"seconds_left": round(stage.seconds_left, 1)} for stage in progress
            ],
        }

    def verify(self) -> Iterator[Finding]:
        """Read every file; yields what is not whole, not done, or of other settings."""
        yield from verify(self.curation, [step.stage for step in self.steps])
