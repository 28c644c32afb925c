"""Questions with their pictures, which are read while the model is at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from regiontok.core.picture import Picture, PictureError
from regiontok.evaluation.question import Question
from regiontok.system.errors import first_line, is_out_of_memory
from regiontok.system.prefetch import map_ahead

_BATCHES_AHEAD = 2  # batches whose pictures are read while the model answers


@dataclass(frozen=True, eq=False)
class Asked:
    """A question with its pictures read, or why they cannot be."""

    question: Question
    pictures: tuple[Picture, ...] = ()
    error: str = ""


def pictures_ahead(
    batches: Sequence[Sequence[Question]],
) -> AbstractContextManager[Iterator[list[Asked]]]:
    """The batches with their pictures, which are read while the model is at work."""
    return closing(map_ahead(_read, batches, workers=1, most=_BATCHES_AHEAD))


def check_own_failure(error: Exception) -> None:
    """Let an error pass that is of one question alone; raise any other.

    Raises:
        RuntimeError: If it is neither a ValueError nor one of memory.
    """
    if not isinstance(error, ValueError) and not is_out_of_memory(error):
        raise error


def _read(batch: Sequence[Question]) -> list[Asked]:
    asked = []
    for question in batch:
        try:
            asked.append(Asked(question, tuple(image.read() for image in question.images)))
        except PictureError as error:
            asked.append(Asked(question, error=first_line(error)))
    return asked
