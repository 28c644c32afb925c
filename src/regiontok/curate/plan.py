"""The plan of a curation: which images, and how each stage goes about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from regiontok.settings.base import Positive, Settings
from regiontok.settings.checks import first_problem
from regiontok.settings.tables import RecipeError, read_table


class FilterPlan(Settings):
    """Which images are left out (row R1).

    Attributes:
        shorter_edge: least pixels of an image's shorter edge.
        duplicates: images whose perceptual hashes differ in at most so many of 64 bits are
            duplicates, of which the first stays; -1 keeps them all.
    """

    shorter_edge: Positive = 336
    duplicates: Annotated[int, Field(ge=-1, le=3)] = 3


class CurationPlan(Settings):
    """A curation.

    Attributes:
        images: tars, or folders of tars, relative to the plan's file.
        piece: images of a piece, the unit of work.
        filter: which images are left out.
    """

    images: Annotated[list[str], Field(min_length=1)]
    piece: Positive = 1024
    filter: FilterPlan = FilterPlan()


def load_plan(path: Path) -> CurationPlan:
    """Read a plan; its paths are absolute then.

    Raises:
        RecipeError: If there is none, it is no TOML, or a key or value is wrong.
    """
    table = read_table(path)
    try:
        plan = CurationPlan.model_validate(table)
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_problem(error, CurationPlan)}") from None
    images = [str((path.parent / name).absolute()) for name in plan.images]
    return plan.model_copy(update={"images": images})
