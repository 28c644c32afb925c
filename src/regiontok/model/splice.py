"""Text ids and ragged visual tokens -> one sequence a row. The ONLY place where an image
placeholder becomes as many tokens as it has.

A row of ids holds one placeholder a picture; the n-th placeholder of the batch stands for the n-th
image of `Tokens`. Each is replaced by its image's tokens (none, if it has none). What a row's
padding was stays outside: rows are laid anew, padded on the side asked for, and visual tokens never
see a pad. Labels of visual tokens are `IGNORE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from regiontok.core.tokens import Tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

IGNORE = -100
Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Spliced:
    """Rows of text and visual tokens, padded to one length s.

    Attributes:
        embeds: `[b s e]`; zeros on padding.
        mask: `[b s]` True = a token, False = padding.
        positions: `[b s]` int64: 0, 1, 2 ... along each row's tokens (along each segment's, if
            there are segments); 0 on padding.
        visual: `[b s]` int64: index into `Tokens`, -1 for text and padding.
        text: `[b s]` int64: column of the row's ids that a text token came from, -1 for visual
            tokens and padding.
        labels: `[b s]` int64 or None.
        segments: `[b s]` int64 or None: the sample of a packed row, -1 on padding.
        shared: `[b s]` int64 or None: positions for the language model where the rows of a mask
            share one.
    """

    embeds: Float[Tensor, "b s e"]
    mask: Bool[Tensor, "b s"]
    positions: Int[Tensor, "b s"]
    visual: Int[Tensor, "b s"]
    text: Int[Tensor, "b s"]
    labels: Int[Tensor, "b s"] | None = None
    segments: Int[Tensor, "b s"] | None = None
    shared: Int[Tensor, "b s"] | None = None

    @property
    def lengths(self) -> Int[Tensor, "b"]:
        """Tokens of each row."""
        return self.mask.sum(1)


def splice(
    ids: Int[Tensor, "b l"],
    mask: Int[Tensor, "b l"] | None,
    tokens: Tokens | None,
    *,
    placeholder: int,
    embed: nn.Module,
    labels: Int[Tensor, "b l"] | None = None,
    segments: Int[Tensor, "b l"] | None = None,
    side: Side = "right",
) -> Spliced:
    """Put the visual tokens where their placeholders stand.

    Args:
        ids: text with one `placeholder` a picture; it may lie outside the vocabulary.
        mask: 1 = a token, 0 = padding; None = no padding.
        tokens: of all pictures of the batch, in the order of their placeholders; None = no picture.
        placeholder: the id that stands for a picture.
        embed: the language model's input embedding.
        labels: ids to predict, `IGNORE` where nothing is supervised.
        segments: the sample of each token in packed rows.
        side: where the padding goes: "right" for training, "left" for generation.

    Raises:
        ValueError: another number of placeholders than of images; both are said.

    >>> tokens = Tokens(torch.ones(3, 2), *torch.zeros(5, 3, dtype=torch.int64), images=1)
    >>> out = splice(torch.tensor([[5, 9, 6]]), None, tokens, placeholder=9, embed=nn.Embedding(8, 2))
    >>> out.visual.tolist(), out.text.tolist()
    ([[-1, 0, 1, 2, -1]], [[0, -1, -1, -1, 2]])
    """
    keep = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    stands = (ids == placeholder) & keep
    counts = (
        torch.zeros(0, dtype=torch.int64, device=ids.device)
        if tokens is None
        else tokens.counts.to(ids.device)
    )
    if int(stands.sum()) != len(counts):
        rows = stands.sum(1).tolist()
        raise ValueError(
            f"the prompts hold {sum(rows)} image placeholders (by row: {rows}), but {len(counts)} images were given"
        )
    width = keep.long()  # places that an id takes
    width[stands] = counts
    lengths = width.sum(1)
    longest = int(lengths.max()) if len(lengths) else 0
    # every place of the batch, row by row, in order: which id it came from, and how far into it
    source = torch.repeat_interleave(torch.arange(ids.numel(), device=ids.device), width.flatten())
    row, column = source // max(ids.shape[1], 1), source % max(ids.shape[1], 1)
    place = torch.arange(len(source), device=ids.device) - (lengths.cumsum(0) - lengths)[row]
    if side == "left":
        place = place + (longest - lengths)[row]
    is_visual = stands.flatten()[source]

    def laid(values: Tensor, fill: int) -> Tensor:
        out = torch.full((len(ids), longest), fill, dtype=torch.int64, device=ids.device)
        return out.index_put((row, place), values)

    order = torch.where(
        is_visual, is_visual.long().cumsum(0) - 1, -1
    )  # visual tokens lie image by image, as placeholders do
    flat = embed(ids.flatten()[source].masked_fill(is_visual, 0))
    if tokens is not None and len(tokens):
        flat = flat.index_put((is_visual.nonzero()[:, 0],), torch.cat(tokens.split()).to(flat))
    embeds = flat.new_zeros(len(ids), longest, flat.shape[-1]).index_put((row, place), flat)
    pieces = None if segments is None else laid(segments.flatten()[source], -1)
    supervised = (
        None
        if labels is None
        else laid(labels.flatten()[source].masked_fill(is_visual, IGNORE), IGNORE)
    )
    there = laid(torch.ones_like(source), 0).bool()
    return Spliced(
        embeds,
        there,
        _positions(there, pieces),
        laid(order, -1),
        laid(column.masked_fill(is_visual, -1), -1),
        supervised,
        pieces,
    )


def check_length(made: Spliced, most: int | None, new: int = 0) -> None:
    """Raise if a row (of packed rows, a sample) and `new` tokens to come are more than the language
    model's `most` positions.

    Raises:
        ValueError: it is; nothing is ever cut.
    """
    if most is None or not made.positions.numel():
        return
    taken = made.positions.amax(1) + 1 + new
    if not bool((taken > most).any()):
        return
    row = int(taken.argmax())
    seen = int((made.visual[row] >= 0).sum())
    raise ValueError(
        f"row {row} has {int(made.lengths[row]) - seen} text and {seen} visual tokens{f', and {new} to come' if new else ''}; the "
        f"language model takes {most}: shorten the text, show fewer images, or take fewer regions (merge(k=...))"
    )


def _positions(
    mask: Bool[Tensor, "b s"], segments: Int[Tensor, "b s"] | None
) -> Int[Tensor, "b s"]:
    running = (mask.long().cumsum(1) - 1).clamp(min=0)
    if segments is None:
        return running.masked_fill(~mask, 0)
    fresh = torch.ones_like(mask)
    fresh[:, 1:] = segments[:, 1:] != segments[:, :-1]
    first = torch.where(fresh, running, 0).cummax(1).values
    return (running - first).masked_fill(~mask, 0)
