"""Tokens: ragged visual tokens that remember image, view, region and patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.regions import Members

if TYPE_CHECKING:
    from jaxtyping import Float, Int

KINDS = ("region", "whole", "cls", "delimiter", "newline")
REGION, WHOLE, CLS, DELIMITER, NEWLINE = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class Tokens:
    """t visual tokens of a batch of images, in the order a language model gets them.

    Attributes:
        values: `[t d]`.
        image: `[t]` int64, ascending.
        view: `[t]` int64: the view of its image (0 when an image has one view).
        region: `[t]` int64: the region of its view (a delimiter's is its mask's), -1 for tokens of
            no region (whole image, CLS).
        patch: `[t]` int64: raster index of the patch on its view's grid, -1 for a pooled token.
        kind: `[t]` int64: index into `KINDS`.
        images: how many images; one of them may have no token at all.

    >>> tokens = Tokens.empty(4, images=2)
    >>> len(tokens), tokens.counts.tolist()
    (0, [0, 0])
    """

    values: Float[Tensor, "t d"]
    image: Int[Tensor, "t"]
    view: Int[Tensor, "t"]
    region: Int[Tensor, "t"]
    patch: Int[Tensor, "t"]
    kind: Int[Tensor, "t"]
    images: int

    def __post_init__(self) -> None:
        count = self.values.shape[0]
        for name in _IDS:
            if getattr(self, name).shape != (count,):
                raise ValueError(
                    f"{count} tokens need {name} [{count}], got {list(getattr(self, name).shape)}"
                )

    @classmethod
    def empty(cls, width: int, images: int = 0) -> Tokens:
        """No token for `images` images."""
        none = torch.zeros(0, dtype=torch.int64)
        return cls(torch.zeros(0, width), none, none, none, none, none, images)

    @classmethod
    def of_regions(
        cls, values: Float[Tensor, "k d"], members: Members, kind: int = REGION
    ) -> Tokens:
        """One token a region."""
        return cls._of(
            values, torch.arange(len(members), device=values.device), None, members, kind
        )

    @classmethod
    def of_patches(
        cls, values: Float[Tensor, "m d"], members: Members, kind: int = REGION
    ) -> Tokens:
        """One token a membership: a region's patches in raster order, region after region."""
        return cls._of(values, members.region, members.patch, members, kind)

    @classmethod
    def _of(
        cls, values: Tensor, region: Tensor, patch: Tensor | None, members: Members, kind: int
    ) -> Tokens:
        view = members.view[region]
        images = int(members.image.max()) + 1 if len(members.image) else 0
        first = torch.searchsorted(
            members.image, members.image
        )  # the first view of each view's image
        own_patch = torch.full_like(region, -1) if patch is None else patch - members.patches[view]
        own_region = (
            region - members.regions[view] if kind == REGION else torch.full_like(region, -1)
        )
        own_view = (torch.arange(len(members.image), device=view.device) - first)[view]
        return cls(
            values,
            members.image[view],
            own_view,
            own_region,
            own_patch,
            torch.full_like(region, kind),
            images,
        )

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def counts(self) -> Int[Tensor, "images"]:
        """Tokens of each image."""
        return torch.bincount(self.image, minlength=self.images)

    def count(self, kind: str) -> int:
        """Tokens of one kind, by name."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind of token {kind!r}; known: {', '.join(KINDS)}")
        return int((self.kind == KINDS.index(kind)).sum())

    def take(self, index: Int[Tensor, "j"]) -> Tokens:
        """The tokens of `index` (or a bool mask), in its order."""
        return replace(
            self, values=self.values[index], **{name: getattr(self, name)[index] for name in _IDS}
        )

    def of(self, image: int) -> Tokens:
        """The tokens of one image, as a batch of one."""
        if not 0 <= image < self.images:
            raise IndexError(f"image {image} of a batch of {self.images}")
        own = self.take(self.image == image)
        return replace(own, image=torch.zeros_like(own.image), images=1)

    def split(self) -> list[Float[Tensor, "t d"]]:
        """One `[t_i d]` an image: what transformers takes as ready-made visual tokens.

        Raises:
            ValueError: tokens that do not lie image by image (after a `take` in another order,
                say).
        """
        if len(self) and (
            bool((self.image.diff() < 0).any()) or int(self.image[-1]) >= self.images
        ):
            raise ValueError(
                f"tokens to be split must lie image by image, with ids 0..{self.images - 1}"
            )
        return list(self.values.split(self.counts.tolist()))

    def but(self, values: Float[Tensor, "t e"]) -> Tokens:
        """The same tokens with other values (a connector's output, say)."""
        return replace(self, values=values)

    def to(self, *args, **kwargs) -> Tokens:
        """Like `torch.Tensor.to`; a dtype moves only the values."""
        values = self.values.to(*args, **kwargs)
        return replace(
            self, values=values, **{name: getattr(self, name).to(values.device) for name in _IDS}
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """Plain tensors for safetensors; `from_tensors` is the way back."""
        # copies: safetensors refuses tensors that share memory, and pools may use one tensor of
        # zeros for two ids
        plain = torch.contiguous_format
        named = {
            f.name: getattr(self, f.name).detach().clone(memory_format=plain)
            for f in fields(self)
            if f.name != "images"
        }
        return {**named, "images": torch.tensor(self.images)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Tokens:
        """From what `to_tensors` gave."""
        named: dict[str, Any] = {**tensors, "images": int(tensors["images"])}
        return cls(**named)


_IDS = ("image", "view", "region", "patch", "kind")


def cat(parts: Sequence[Tokens]) -> Tokens:
    """Batches one after the other; image ids go on counting."""
    if not parts:
        raise ValueError("nothing to join")
    starts = [sum(part.images for part in parts[:i]) for i in range(len(parts))]
    moved = [
        replace(part, image=part.image + start) for part, start in zip(parts, starts, strict=True)
    ]
    joined = {
        f.name: torch.cat([getattr(p, f.name) for p in moved])
        for f in fields(Tokens)
        if f.name != "images"
    }
    return Tokens(**joined, images=sum(part.images for part in parts))


def interleave(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of the SAME images, image by image, in the order of `parts` (CLS in front of regions,
    say)."""
    images = {part.images for part in parts}
    if len(images) != 1:
        raise ValueError(f"parts must be of the same images, got batches of {sorted(images)}")
    joined = {
        f.name: torch.cat([getattr(p, f.name) for p in parts])
        for f in fields(Tokens)
        if f.name != "images"
    }
    tokens = Tokens(**joined, images=images.pop())
    return tokens.take(torch.argsort(tokens.image, stable=True))
