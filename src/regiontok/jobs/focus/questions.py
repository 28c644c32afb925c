"""Questions about pictures whose answers' objects are annotated, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.evaluation.focus_options import Annotation
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

Size = tuple[int, int]


class NoFocusData(RegiontokError, ValueError):
    """A folder holds no questions with masks; the message says what was expected there."""


class NoAnnotation(RegiontokError, ValueError):
    """A question has no usable mask, so that there is nothing to hold attention to."""


@dataclass(frozen=True, eq=False)
class AnnotatedObject:
    """What is annotated of a picture.

    Attributes:
        mask: `[H W]`, True inside, of the picture's size.
        rescaled_from: the size (H, W) that the masks had if it was another one; None if not.
    """

    mask: Bool[Tensor, "H W"]
    rescaled_from: Size | None = None


@dataclass(frozen=True, eq=False)
class FocusQuestion:
    """One question.

    Attributes:
        id: what names it in the results.
        image: what messages call its picture.
        question: the text that is asked, options and instructions included.
        gold: the right answer as the model should say it; "" if it is not known.
        picture: the function that reads the picture.
        annotation: the function from the picture, and which masks count, to what is annotated.
    """

    id: str
    image: str
    question: str
    gold: str
    picture: Callable[[], Picture]
    annotation: Callable[[Picture, Annotation], AnnotatedObject]


def union_on(
    picture: Picture, segmentations: Sequence[Any], stated: Size | None
) -> AnnotatedObject:
    """The union of COCO segmentations on a picture; another size is rescaled to the picture's.

    Args:
        picture: the picture.
        segmentations: polygons and run lengths, in any mixture; polygons are in pixels of the size
            that the run lengths state.
        stated: the size (H, W) that the file states for the picture; None if it states none.

    Raises:
        NoAnnotation: If there is no mask, none has a pixel, they state several sizes or that of the
            picture on its side, or one cannot be read.
    """
    if not segmentations:
        raise NoAnnotation(f"{picture.name}: no mask is annotated")
    sizes = {
        (int(value["size"][0]), int(value["size"][1]))
        for value in segmentations
        if isinstance(value, dict) and len(value.get("size", ())) == 2
    }
    if len(sizes) > 1:
        raise NoAnnotation(f"{picture.name}: its masks are of several sizes, {sorted(sizes)}")
    size = next(iter(sizes), stated or picture.size)
    if size != picture.size and size == picture.size[::-1]:
        raise NoAnnotation(
            f"{picture.name}: its masks are of {size[0]} x {size[1]} pixels, and the upright "
            "picture lies on its side: turn the masks"
        )
    try:
        union = PixelMasks.from_coco(segmentations, size).dense().any(0)
    except (ValueError, TypeError, OverflowError) as error:
        raise NoAnnotation(f"{picture.name}: a mask cannot be read ({error})") from None
    if not bool(union.any()):
        raise NoAnnotation(f"{picture.name}: its masks are empty")
    return of_size(union, picture.size)


def of_size(mask: Bool[Tensor, "h w"], size: Size) -> AnnotatedObject:
    """A mask at another size: each pixel takes the one under its centre.

    >>> annotated = of_size(torch.tensor([[True, False]]), (2, 4))
    >>> annotated.mask.tolist(), annotated.rescaled_from
    ([[True, True, False, False], [True, True, False, False]], (1, 2))
    """
    mask_size = (mask.shape[0], mask.shape[1])
    if mask_size == size:
        return AnnotatedObject(mask)
    rescaled = torch.nn.functional.interpolate(
        mask[None, None].float(), size=size, mode="nearest-exact"
    )
    return AnnotatedObject(rescaled[0, 0] > 0, mask_size)
