"""What the words of an answer looked at, as a record that stands in a file of JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.model.picture_attention import AttendedWord, PictureAttention
from regiontok.system.arrays import packed, unpacked

if TYPE_CHECKING:
    from jaxtyping import Float

DIGITS = 6  # of a share; float16 holds three, and shares of regions are kept in it


@dataclass(frozen=True, eq=False)
class KeptView:
    """One view of a picture.

    Attributes:
        frame: how the picture lies under its grid.
        regions: its regions, without the masks they came from.
        shares: `[w k]`, the share of each word's attention on each region.
    """

    frame: Frame
    regions: Regions
    shares: Float[np.ndarray, "w k"]


@dataclass(frozen=True, eq=False)
class KeptPicture:
    """What the words of an answer looked at in one picture.

    Attributes:
        key: the picture's key.
        visual: `[w]`, the share of each word's attention on the picture, all its tokens together.
        whole: `[w]`, the share of the whole-image token.
        cls: `[w]`, the share of the CLS tokens.
        views: the views, the base view first.
    """

    key: str
    visual: tuple[float, ...]
    whole: tuple[float, ...]
    cls: tuple[float, ...]
    views: tuple[KeptView, ...]


@dataclass(frozen=True, eq=False)
class KeptAttention:
    """What the words of one answer looked at.

    Attributes:
        words: the words, each with the blanks before it.
        tokens: how many tokens each has.
        pictures: the pictures with regions and tokens.
    """

    words: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    pictures: tuple[KeptPicture, ...] = ()

    @classmethod
    def of(cls, words: Sequence[AttendedWord]) -> KeptAttention:
        """What is kept of the words of an answer."""
        by_picture = zip(*(word.attention for word in words), strict=True)
        return cls(
            tuple(word.text for word in words),
            tuple(word.tokens for word in words),
            tuple(map(_kept_picture, by_picture)),
        )

    def record(self) -> dict[str, Any]:
        """What a file holds of it."""
        return {
            "words": list(self.words),
            "tokens": list(self.tokens),
            "pictures": [_picture_record(picture) for picture in self.pictures],
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> KeptAttention:
        """What `record` was made of; shares come back as float16.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: If it is no such record.
        """
        pictures = tuple(map(_picture, record["pictures"]))
        return cls(tuple(record["words"]), tuple(record["tokens"]), pictures)


def _kept_picture(words: Sequence[PictureAttention]) -> KeptPicture:
    """What some words looked at in one picture."""
    picture = words[0].picture
    views = [
        KeptView(frame, regions, torch.stack([word.views[view].regions for word in words]).numpy())
        for view, (frame, regions) in enumerate(zip(picture.frames, picture.regions, strict=True))
    ]

    def rounded(shares: Iterable[float]) -> tuple[float, ...]:
        return tuple(round(share, DIGITS) for share in shares)

    return KeptPicture(
        picture.picture.key,
        rounded(word.first_view.visual for word in words),
        rounded(word.first_view.whole for word in words),
        rounded(word.first_view.cls for word in words),
        tuple(views),
    )


def _picture_record(picture: KeptPicture) -> dict[str, Any]:
    return {
        "picture": picture.key,
        "visual": list(picture.visual),
        "whole": list(picture.whole),
        "cls": list(picture.cls),
        "shares": [packed(view.shares, "float16") for view in picture.views],
        "views": [_view_record(view) for view in picture.views],
    }


def _picture(record: Mapping[str, Any]) -> KeptPicture:
    views = zip(record["views"], record["shares"], strict=True)
    return KeptPicture(
        str(record["picture"]),
        visual=tuple(record["visual"]),
        whole=tuple(record["whole"]),
        cls=tuple(record["cls"]),
        views=tuple(_view(view, unpacked(shares)) for view, shares in views),
    )


def _view_record(view: KeptView) -> dict[str, Any]:
    regions = view.regions
    kind = "uint16" if math.prod(regions.grid) <= np.iinfo(np.uint16).max else "int32"
    return {
        "frame": asdict(view.frame),
        "grid": list(regions.grid),
        "k": len(regions),
        "patch": packed(regions.patch, kind),
        "region": packed(regions.region, kind),
    }


def _view(record: Mapping[str, Any], shares: np.ndarray) -> KeptView:
    frame = Frame(**{name: tuple(pair) for name, pair in record["frame"].items()})
    patch, region = (
        torch.from_numpy(unpacked(record[name]).astype(np.int64)) for name in ("patch", "region")
    )
    source = torch.full((int(record["k"]),), -1, dtype=torch.int64)
    return KeptView(frame, Regions(patch, region, tuple(record["grid"]), source), shares)
