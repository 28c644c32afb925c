"""The plan of a curation: which images, and how each stage goes about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


class ProposePlan(Settings):
    """Where the regions of an image come from (row R1: boxes with a shorter edge of at least 128).

    Attributes:
        segmenter: spec of a segmenter, or "stored" for annotations that lie beside the images
            (SA-1B's JSON in its tar).
        size: longer edge in pixels at which the segmenter sees an image; 0 is the image's own, and
            by default it is what suits the segmenter: 256 for felzenszwalb.
        shorter_edge: least pixels of a box's shorter edge, in the image's own pixels.
        overlap: boxes that overlap a better one by more than this IoU are dropped; 1 keeps them.
        masks: True keeps masks beside boxes, at about 512 instead of 20 bytes a region.
    """

    segmenter: str = "felzenszwalb"
    size: Annotated[int, Field(ge=0)] | None = None
    shorter_edge: Positive = 128
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.7
    masks: bool = False


class EmbedPlan(Settings):
    """How regions become the features that are clustered (row R1).

    Attributes:
        encoder: spec of an encoder.
        by: "crops" encodes each region's crop, "dense" the image once, and pools its patches.
        size: pixels of a crop's side, or of the image's longer edge for "dense".
    """

    encoder: str = "lite"
    by: Literal["crops", "dense"] = "crops"
    size: Positive = 224


class ClusterPlan(Settings):
    """k-means over the features of a sample (rows R1, R2), and how many centres a region is given.

    Attributes:
        k: number of centres.
        sample: regions a centre in the sample.
        iterations: number of exact iterations.
        init: "random" begins with distinct rows of the sample, "tree" with a clustering of
            two levels.
        seed: seed of the sample and of the first centres.
        top: nearest centres that are written down for each region.
        device: where products are computed: "cpu", "cuda", "cuda:1", "mps", or "auto" for a GPU
            where there is one. The results are the same everywhere.
    """

    k: Positive = 1000
    sample: Positive = 64
    iterations: Positive = 6
    init: Literal["random", "tree"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0
    top: Positive = 10
    device: str = "cpu"


class OcrPlan(Settings):
    """How text regions are read (row R2).

    Attributes:
        reader: "rapidocr", whose models come in its package, "paddleocr", or "none".
        small_text: True enlarges small images before lines are sought (.25 s a photo instead
            of .07, and twice the lines).
        score: lines above this confidence are used; all of them are written down.
    """

    reader: Literal["rapidocr", "paddleocr", "none"] = "rapidocr"
    small_text: bool = True
    score: Annotated[float, Field(ge=0, lt=1)] = 0.7


class CurationPlan(Settings):
    """A curation.

    Attributes:
        images: tars, or folders of tars, relative to the plan's file.
        piece: images of a piece, the unit of work.
        filter: which images are left out.
        propose: where regions come from.
        embed: how regions become features.
        cluster: how features become labels.
        ocr: how text is read.
    """

    images: Annotated[list[str], Field(min_length=1)]
    piece: Positive = 1024
    filter: FilterPlan = FilterPlan()
    propose: ProposePlan = ProposePlan()
    embed: EmbedPlan = EmbedPlan()
    cluster: ClusterPlan = ClusterPlan()
    ocr: OcrPlan = OcrPlan()


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
