"""Tokens: ragged visual tokens that remember image, view, region and patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.regions import Members
from regiontok.core.sizes import counted, storage_text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

KINDS = ("region", "whole", "cls", "delimiter", "newline")
REGION, WHOLE, CLS, DELIMITER, NEWLINE = range(len(KINDS))
HTML_ROWS = 20  # images that a notebook's table shows

_IDS = ("image", "view", "region", "patch", "kind")  # the fields that hold one id a token


@dataclass(frozen=True, eq=False, repr=False)
class Tokens:
    """t visual tokens of a batch of images, in the order in which a language model gets them.

    `len(tokens)` counts tokens; indexing and iteration go image by image: `tokens[0]` holds the
    tokens of the first image.

    Attributes:
        values: `[t d]`.
        image: `[t]` int64, ascending.
        view: `[t]` int64, the view of its image; 0 when an image has one view.
        region: `[t]` int64, the region of its view (a delimiter's is its mask's), -1 for tokens of
            no region (whole image, CLS).
        patch: `[t]` int64, raster index of the patch on its view's grid, -1 for a pooled token.
        kind: `[t]` int64, index into `KINDS`.
        images: how many images there are; any of them may have no token at all.

    Raises:
        ValueError: If there is not one id of each sort for each token.

    >>> tokens = Tokens.empty(4, images=2)
    >>> tokens
    Tokens(0 tokens of 2 images, width 4, float32, cpu)
    >>> len(tokens), tokens.counts.tolist(), len(tokens[1])
    (0, [0, 0], 0)
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
        for name, ids in self._ids().items():
            if ids.shape != (count,):
                raise ValueError(f"{count} tokens need {name} [{count}], got {list(ids.shape)}")

    @classmethod
    def empty(cls, width: int, images: int = 0) -> Tokens:
        """No token for `images` images."""
        none = torch.zeros(0, dtype=torch.int64)
        return cls(torch.zeros(0, width), **dict.fromkeys(_IDS, none), images=images)

    @staticmethod
    def cat(batches: Sequence[Tokens]) -> Tokens:
        """Batches of different images one after the other; image ids go on counting.

        Raises:
            ValueError: If there is no batch, or widths differ.

        >>> Tokens.cat([Tokens.empty(4, images=2), Tokens.empty(4, images=3)])
        Tokens(0 tokens of 5 images, width 4, float32, cpu)
        """
        return cat(batches)

    @classmethod
    def of_regions(
        cls, values: Float[Tensor, "k d"], members: Members, kind: int = REGION
    ) -> Tokens:
        """One token for each region."""
        region = torch.arange(len(members), device=values.device)
        return cls._of_members(values, region, None, members, kind)

    @classmethod
    def of_patches(
        cls, values: Float[Tensor, "m d"], members: Members, kind: int = REGION
    ) -> Tokens:
        """One token for each membership: a region's patches in raster order, region by region."""
        return cls._of_members(values, members.region, members.patch, members, kind)

    @classmethod
    def _of_members(
        cls, values: Tensor, region: Tensor, patch: Tensor | None, members: Members, kind: int
    ) -> Tokens:
        """Tokens from ids of the batch, which become ids of their own view."""
        view = members.view[region]
        none = torch.full_like(region, -1)
        first_view_of_image = torch.searchsorted(members.image, members.image)
        view_of_image = torch.arange(len(members.image), device=view.device) - first_view_of_image
        return cls(
            values=values,
            image=members.image[view],
            view=view_of_image[view],
            region=region - members.regions[view] if kind == REGION else none,
            patch=none if patch is None else patch - members.patches[view],
            kind=torch.full_like(region, kind),
            images=int(members.image.max()) + 1 if len(members.image) else 0,
        )

    def __len__(self) -> int:
        return self.values.shape[0]

    def __repr__(self) -> str:
        tokens, images = counted(len(self), "token"), counted(self.images, "image")
        return f"Tokens({tokens} of {images}, width {self.width}, {storage_text(self.values)})"

    def _repr_html_(self) -> str:
        """A table for notebooks: how many tokens of each kind each image has."""
        kinds = [kind for kind in KINDS if self.count(kind)]
        heads = "".join(f"<th>{head}</th>" for head in ("image", *kinds, "tokens"))
        rows = []
        for index in range(min(self.images, HTML_ROWS)):
            tokens = self[index]
            cells = (index, *(tokens.count(kind) for kind in kinds), len(tokens))
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
        hidden = self.images - len(rows)
        more = f"<p>and {hidden} more images</p>" if hidden else ""
        return f"<p>{self!r}</p><table><tr>{heads}</tr>{''.join(rows)}</table>{more}"

    def __getitem__(self, index: int | slice) -> Tokens:
        """The tokens of one image, as a batch of one, or of a slice of the images.

        Raises:
            IndexError: If the batch has no such image.

        >>> Tokens.empty(4, images=5)[1:3]
        Tokens(0 tokens of 2 images, width 4, float32, cpu)
        """
        if isinstance(index, slice):
            chosen = [self[image] for image in range(self.images)[index]]
            return cat(chosen) if chosen else replace(self.take(self.image < 0), images=0)
        if not -self.images <= index < self.images:
            raise IndexError(f"image {index} of a batch of {self.images}")
        tokens = self.take(self.image == index % self.images)
        return replace(tokens, image=torch.zeros_like(tokens.image), images=1)

    def __iter__(self) -> Iterator[Tokens]:
        """The tokens of each image, as `tokens[index]` gives them."""
        return (self[index] for index in range(self.images))

    @property
    def width(self) -> int:
        """d, the length of a token's vector."""
        return self.values.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the values."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the values and all ids lie."""
        return self.values.device

    @property
    def counts(self) -> Int[Tensor, "images"]:
        """Number of tokens of each image."""
        return torch.bincount(self.image, minlength=self.images)

    def count(self, kind: str) -> int:
        """Number of tokens of one of `KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind of token {kind!r}; known: {', '.join(KINDS)}")
        return int((self.kind == KINDS.index(kind)).sum())

    def take(self, index: Int[Tensor, "j"] | Bool[Tensor, "t"]) -> Tokens:
        """The tokens of `index` (or of a bool mask), in its order."""
        ids = {name: ids[index] for name, ids in self._ids().items()}
        return Tokens(self.values[index], **ids, images=self.images)

    def split(self) -> list[Float[Tensor, "t d"]]:
        """One `[t d]` for each image: what transformers takes as ready-made visual tokens.

        Raises:
            ValueError: If the tokens do not lie image by image, as after a `take` in another order.
        """
        self._check_order()
        return list(torch.split(self.values, self.counts.tolist()))

    def padded(
        self, fill: float = 0.0
    ) -> tuple[Float[Tensor, "images most d"], Bool[Tensor, "images most"]]:
        """The tokens as one dense batch, as long as its longest image, and the mask of the tokens.

        Args:
            fill: the value of padding, which stands behind the tokens of an image.

        Returns:
            The values `[images most d]`, and a mask `[images most]` that is True for tokens.

        Raises:
            ValueError: If the tokens do not lie image by image, as after a `take` in another order.

        >>> values, mask = Tokens.empty(4, images=2).padded()
        >>> values.shape, mask.shape
        (torch.Size([2, 0, 4]), torch.Size([2, 0]))
        """
        self._check_order()
        counts = self.counts
        most = int(counts.max()) if self.images else 0
        mask = torch.arange(most, device=self.device) < counts[:, None]
        values = self.values.new_full((self.images, most, self.width), fill)
        values[mask] = self.values
        return values, mask

    def _check_order(self) -> None:
        if len(self) and (
            bool((self.image.diff() < 0).any()) or int(self.image[-1]) >= self.images
        ):
            raise ValueError(
                f"tokens to be split must lie image by image, with ids 0..{self.images - 1}"
            )

    def but(self, values: Float[Tensor, "t e"]) -> Tokens:
        """The same tokens with other values, such as a connector's output."""
        return replace(self, values=values)

    def to(self, *args: Any, **kwargs: Any) -> Tokens:
        """Like `torch.Tensor.to`; a dtype changes only the values."""
        values = self.values.to(*args, **kwargs)
        ids = {name: ids.to(values.device) for name, ids in self._ids().items()}
        return Tokens(values, **ids, images=self.images)

    def pin_memory(self) -> Tokens:
        """The same tokens in pinned memory, from which copies to a GPU need not wait."""
        ids = {name: ids.pin_memory() for name, ids in self._ids().items()}
        return Tokens(self.values.pin_memory(), **ids, images=self.images)

    def to_tensors(self) -> dict[str, Tensor]:
        """Plain tensors for safetensors; `from_tensors` is the way back."""
        # Copies: safetensors refuses tensors that share memory, and pools may use one tensor of
        # zeros for two ids.
        tensors = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in {"values": self.values, **self._ids()}.items()
        }
        return {**tensors, "images": torch.tensor(self.images)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Tokens:
        """The tokens that `to_tensors` was called on."""
        fields: dict[str, Any] = {**tensors, "images": int(tensors["images"])}
        return cls(**fields)

    def _ids(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in _IDS}


def cat(batches: Sequence[Tokens]) -> Tokens:
    """See `Tokens.cat`."""
    if not batches:
        raise ValueError("nothing to join")
    widths = sorted({tokens.width for tokens in batches})
    if len(widths) > 1:
        raise ValueError(f"tokens to be joined must have one width, got {widths}")
    shifted, images = [], 0
    for tokens in batches:
        shifted.append(replace(tokens, image=tokens.image + images))
        images += tokens.images
    return _concatenated(shifted, images)


def interleave(batches: Sequence[Tokens]) -> Tokens:
    """Batches of the SAME images, joined image by image, in the order of `batches`.

    CLS tokens in front of the tokens of regions, for example.
    """
    counts = {tokens.images for tokens in batches}
    if len(counts) != 1:
        raise ValueError(f"parts must be of the same images, got batches of {sorted(counts)}")
    joined = _concatenated(batches, counts.pop())
    return joined.take(torch.argsort(joined.image, stable=True))


def _concatenated(batches: Sequence[Tokens], images: int) -> Tokens:
    tensors = {
        name: torch.cat([getattr(tokens, name) for tokens in batches]) for name in ("values", *_IDS)
    }
    return Tokens(**tensors, images=images)
