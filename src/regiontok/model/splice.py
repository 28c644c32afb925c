"""Text ids and ragged visual tokens -> one sequence a row.

This is the ONLY place where an image placeholder becomes as many tokens as it has. A row of ids
holds one placeholder a picture; the n-th placeholder of the batch stands for the n-th image of
`Tokens`. Each is replaced by its image's tokens (none, if it has none). What a row's padding was
stays outside: rows are laid anew, padded on the side that is asked for, and visual tokens never see
a pad. Labels of visual tokens are `IGNORE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from regiontok.core.sizes import ShownBySizes
from regiontok.core.tokens import Tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

IGNORE = -100
Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False, repr=False)
class Spliced(ShownBySizes):
    """Rows of text and visual tokens, padded to one length s.

    Attributes:
        embeds: `[b s e]`; zeros on padding.
        mask: `[b s]`, True for a token and False for padding.
        positions: `[b s]` int64: 0, 1, 2 ... along each row's tokens (along each segment's, if
            there are segments); 0 on padding.
        visual: `[b s]` int64: index into `Tokens`, -1 for text and padding.
        text: `[b s]` int64: column of the row's ids that a text token came from, -1 for visual
            tokens and padding.
        labels: `[b s]` int64 or None.
        segments: `[b s]` int64 or None: the sample of a packed row, -1 on padding.
        blocks: `[b s]` int64 or None: the block of each token within its sample; -1 for what all
            blocks of the sample see, and on padding.
        shared_positions: `[b s]` int64 or None: positions for the language model where the rows of
            a mask share one.
        words: `[t words]` int64 or None: ids of the words of each visual token's object, -1 where
            it names nothing.
        naming: the loss of a connector that names its tokens, or None.
    """

    embeds: Float[Tensor, "b s e"]
    mask: Bool[Tensor, "b s"]
    positions: Int[Tensor, "b s"]
    visual: Int[Tensor, "b s"]
    text: Int[Tensor, "b s"]
    labels: Int[Tensor, "b s"] | None = None
    segments: Int[Tensor, "b s"] | None = None
    blocks: Int[Tensor, "b s"] | None = None
    shared_positions: Int[Tensor, "b s"] | None = None
    words: Int[Tensor, "t words"] | None = None
    naming: Float[Tensor, ""] | None = None

    @classmethod
    def of_embeds(
        cls, embeds: Float[Tensor, "b s e"], mask: Tensor | None, labels: Tensor | None = None
    ) -> Spliced:
        """Rows that are spliced already; where their columns came from is not known.

        Args:
            embeds: the rows.
            mask: 1 for a token and 0 for padding; None if there is no padding.
            labels: ids to predict.
        """
        is_token = torch.ones_like(embeds[..., 0], dtype=torch.bool)
        is_token = is_token if mask is None else mask.to(embeds.device).bool()
        unknown = torch.full_like(is_token, -1, dtype=torch.int64)
        positions = _positions(is_token, None)
        return cls(embeds, is_token, positions, visual=unknown, text=unknown, labels=labels)

    @property
    def lengths(self) -> Int[Tensor, "b"]:
        """Tokens of each row."""
        return self.mask.sum(1)

    def behind(self, lengths: Int[Tensor, "b"]) -> Spliced:
        """The same rows with positions that go on behind so many tokens of each.

        Args:
            lengths: tokens in front of each row.
        """
        shared, first = self.shared_positions, lengths[:, None]
        return replace(
            self,
            positions=(self.positions + first).masked_fill(~self.mask, 0),
            shared_positions=None if shared is None else shared + first,
        )


def splice(
    ids: Int[Tensor, "b l"],
    mask: Int[Tensor, "b l"] | None,
    tokens: Tokens | None,
    *,
    placeholder: int,
    embed: nn.Module,
    labels: Int[Tensor, "b l"] | None = None,
    segments: Int[Tensor, "b l"] | None = None,
    blocks: Int[Tensor, "b l"] | None = None,
    side: Side = "right",
) -> Spliced:
    """Put the visual tokens where their placeholders stand.

    Args:
        ids: text with one `placeholder` a picture; it may lie outside the vocabulary.
        mask: 1 for a token and 0 for padding; None if there is no padding.
        tokens: tokens of all pictures of the batch, in the order of their placeholders; None if
            there is no picture.
        placeholder: the id that stands for a picture.
        embed: the language model's input embedding.
        labels: ids to predict, `IGNORE` where nothing is supervised.
        segments: the sample of each token in packed rows.
        blocks: the block of each token within its sample, -1 for the beginning that they share.
        side: where the padding goes: "right" for training, "left" for generation.

    Raises:
        ValueError: If there are more or fewer placeholders than images; both counts are said.

    >>> tokens = Tokens(torch.ones(3, 2), *torch.zeros(5, 3, dtype=torch.int64), images=1)
    >>> ids = torch.tensor([[5, 9, 6]])
    >>> spliced = splice(ids, None, tokens, placeholder=9, embed=nn.Embedding(8, 2))
    >>> spliced.visual.tolist(), spliced.text.tolist()
    ([[-1, 0, 1, 2, -1]], [[0, -1, -1, -1, 2]])
    """
    is_token = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    is_placeholder = (ids == placeholder) & is_token
    counts = _counts(tokens, ids.device)
    _check_counts(is_placeholder, counts)
    columns_of_id = is_token.long()  # columns that each id takes in the spliced row
    columns_of_id[is_placeholder] = counts
    lengths = columns_of_id.sum(1)
    longest = int(lengths.max()) if len(lengths) else 0
    # every column of the batch, row by row, in order: which id it came from, and where it stands
    flat_ids = torch.arange(ids.numel(), device=ids.device)
    source = torch.repeat_interleave(flat_ids, columns_of_id.flatten())
    row, id_column = source // max(ids.shape[1], 1), source % max(ids.shape[1], 1)
    column = torch.arange(len(source), device=ids.device) - (lengths.cumsum(0) - lengths)[row]
    if side == "left":
        column = column + (longest - lengths)[row]
    is_visual = is_placeholder.flatten()[source]

    def in_rows(values: Tensor, fill: int) -> Tensor:
        rows = torch.full((len(ids), longest), fill, dtype=torch.int64, device=ids.device)
        return rows.index_put((row, column), values)

    # visual tokens lie image by image, as placeholders do
    visual_index = torch.where(is_visual, is_visual.long().cumsum(0) - 1, -1)
    flat = embed(ids.flatten()[source].masked_fill(is_visual, 0))
    if tokens is not None and len(tokens):
        flat = flat.index_put((is_visual.nonzero()[:, 0],), torch.cat(tokens.split()).to(flat))
    embeds = flat.new_zeros(len(ids), longest, flat.shape[-1]).index_put((row, column), flat)
    spliced_mask = in_rows(torch.ones_like(source), 0).bool()
    spliced_segments = None if segments is None else in_rows(segments.flatten()[source], -1)
    spliced_blocks = None if blocks is None else in_rows(blocks.flatten()[source], -1)
    spliced_labels = None
    if labels is not None:
        flat_labels = labels.flatten()[source].masked_fill(is_visual, IGNORE)
        spliced_labels = in_rows(flat_labels, IGNORE)
    return Spliced(
        embeds=embeds,
        mask=spliced_mask,
        positions=_positions(spliced_mask, spliced_segments, spliced_blocks),
        visual=in_rows(visual_index, -1),
        text=in_rows(id_column.masked_fill(is_visual, -1), -1),
        labels=spliced_labels,
        segments=spliced_segments,
        blocks=spliced_blocks,
    )


def _counts(tokens: Tokens | None, device: torch.device) -> Int[Tensor, "images"]:
    if tokens is None:
        return torch.zeros(0, dtype=torch.int64, device=device)
    return tokens.counts.to(device)


def _check_counts(is_placeholder: Bool[Tensor, "b l"], counts: Int[Tensor, "images"]) -> None:
    if int(is_placeholder.sum()) != len(counts):
        by_row = is_placeholder.sum(1).tolist()
        hint = ""
        if 0 < sum(by_row) < len(counts):
            hint = (
                "; if nn.DataParallel has divided the ids, which it cannot do with pictures, start "
                "one process a GPU (accelerate launch, or torchrun)"
            )
        raise ValueError(
            f"the prompts hold {sum(by_row)} image placeholders (by row: {by_row}), but "
            f"{len(counts)} images were given{hint}"
        )


def check_length(spliced: Spliced, most: int | None, new: int = 0) -> None:
    """Raise if a row (of packed rows, a sample) is longer than the language model's positions.

    Args:
        spliced: the rows.
        most: positions that the language model has; None if it does not say.
        new: tokens that are still to come.

    Raises:
        ValueError: If a row and the tokens to come are too many; nothing is ever cut.
    """
    if most is None or not spliced.positions.numel():
        return
    needed = spliced.positions.amax(1) + 1 + new
    if not bool((needed > most).any()):
        return
    row = int(needed.argmax())
    visual, length = int((spliced.visual[row] >= 0).sum()), int(spliced.lengths[row])
    to_come = f", and {new} to come" if new else ""
    cached = 0 if spliced.segments is not None else int(needed[row]) - new - length
    in_cache = f", behind {cached} in the cache" if cached else ""
    raise ValueError(
        f"row {row} has {length - visual} text and {visual} visual "
        f"tokens{in_cache}{to_come}; the language model takes {most}: shorten the text, show fewer "
        "images, or take fewer regions (merge(k=...))"
    )


def _positions(
    mask: Bool[Tensor, "b s"],
    segments: Int[Tensor, "b s"] | None,
    blocks: Int[Tensor, "b s"] | None = None,
) -> Int[Tensor, "b s"]:
    """Positions along each segment; each block goes on behind what the segment's blocks share."""
    running = (mask.long().cumsum(1) - 1).clamp(min=0)
    if segments is None and blocks is None:
        return running.masked_fill(~mask, 0)
    begins_segment = torch.ones_like(mask)
    begins_segment[:, 1:] = False if segments is None else segments[:, 1:] != segments[:, :-1]
    first = torch.where(begins_segment, running, 0).cummax(1).values
    if blocks is None:
        return (running - first).masked_fill(~mask, 0)
    begins_block = begins_segment.clone()
    begins_block[:, 1:] |= blocks[:, 1:] != blocks[:, :-1]
    was_shared = begins_segment.clone()
    was_shared[:, 1:] |= blocks[:, :-1] < 0
    first_of_block = torch.where(begins_block, running, 0).cummax(1).values
    # where the segment's first block begins
    shared_end = torch.where(begins_block & was_shared, running, 0).cummax(1).values
    return (shared_end - first + running - first_of_block).masked_fill(~mask, 0)
