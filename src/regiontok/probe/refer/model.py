"""A region VLM that answers with [SEG], and the mask that its hidden state asks for.

After: LISA (Lai et al., CVPR 2024), section 3.2; MLCD-Seg of RICE's authors (row R10).
Differs: the visual side is that of `RegionVLM`, patches or regions as its settings say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.model.packed import packed_mask
from regiontok.model.splice import Spliced, check_length
from regiontok.model.vlm import RegionVLM
from regiontok.probe.refer.grid_masks import GridMasks
from regiontok.probe.refer.losses import mask_losses
from regiontok.probe.refer.mask_head import Placed, SamMasks
from regiontok.probe.refer.talk import Rows

if TYPE_CHECKING:
    from jaxtyping import Float

Hidden = Literal["before", "at", "words"]


@dataclass(frozen=True, eq=False)
class ReferringBatch:
    """Expressions about pictures, one or several a row.

    Attributes:
        pictures: the picture of each row; or its frozen features.
        rows: the conversations.
        masks: `[H W]` the true mask of each expression at the picture's own size.
        placements: how the picture of each row lies under the masks that are predicted.
        pixels: `[b 3 S S]` the pictures on SAM's canvas; None where SAM's image encoder is left
            out.
    """

    pictures: Sequence[Picture | PatchGrid]
    rows: Rows
    masks: Sequence[Tensor]
    placements: Sequence[Placed] = ()
    pixels: Tensor | None = None

    def to(self, device: torch.device) -> ReferringBatch:
        """The batch with its tensors on a device; grids follow by themselves."""
        return replace(
            self,
            rows=self.rows.to(device),
            masks=[mask.to(device) for mask in self.masks],
            pixels=None if self.pixels is None else self.pixels.to(device),
        )


@dataclass(frozen=True)
class LossWeights:
    """What the losses of a batch weigh.

    Attributes:
        words: cross-entropy of the answer's words.
        cross: binary cross-entropy of the masks' pixels.
        dice: Dice loss of the masks.
    """

    words: float = 1.0
    cross: float = 2.0
    dice: float = 0.5


class ReferringModel(nn.Module):
    """Expressions to masks.

    Args:
        vlm: reads pictures and words.
        masks: makes masks of prompts.
        hidden: "at" takes the hidden state at [SEG], as MLCD-Seg does; "before" that of the token
            before it, which predicts [SEG], as LISA does; "words" the state at [SEG] and the sum of
            the embeddings of the text's tokens up to it, which is ours: from random weights
            attention finds five words among many patches too late.
        weights: of the losses.
        seed: seed of the projection.

    Attributes:
        to_prompt: two layers from the language model's width to SAM's prompts.
    """

    def __init__(
        self,
        vlm: RegionVLM,
        masks: SamMasks | GridMasks,
        *,
        hidden: Hidden,
        weights: LossWeights | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vlm, self.masks = vlm, masks
        self.hidden, self.weights = hidden, weights or LossWeights()
        width = int(vlm.config.language_config.hidden_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.to_prompt = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, masks.prompt_width)
            )

    def forward(self, batch: ReferringBatch) -> tuple[list[Float[Tensor, "H W"]], Tensor]:
        """The logits of each mask at its picture's own size, and the loss of the words."""
        rows = batch.rows
        spliced = self.vlm.spliced(
            rows.ids,
            rows.mask,
            batch.pictures,
            labels=rows.labels,
            segments=rows.segments,
            blocks=rows.blocks,
        )
        states, words = self._read(spliced)
        prompts = self.to_prompt(hidden_states(states, spliced, rows, self.hidden))
        embeddings = self._embeddings(batch)[rows.row]
        logits = self.masks(embeddings, prompts.to(embeddings))
        placements = [batch.placements[row] for row in rows.row.tolist()]
        return full_size(logits.float(), placements), words

    def losses(self, batch: ReferringBatch) -> dict[str, Tensor]:
        """The weighted losses of a batch by name; their sum is minimised."""
        logits, words = self(batch)
        cross, dice = mask_losses(logits, batch.masks)
        weights = self.weights
        return {
            "words": weights.words * words,
            "cross": weights.cross * cross,
            "dice": weights.dice * dice,
        }

    def _read(self, spliced: Spliced) -> tuple[Float[Tensor, "b s e"], Tensor]:
        """The last hidden states of the language model, and the loss of the words."""
        check_length(spliced, self.vlm.config.language_config.max_position_embeddings)
        shared = spliced.shared_positions
        language_model: Any = self.vlm.language_model
        is_plain = spliced.blocks is None
        output = language_model(
            inputs_embeds=spliced.embeds,
            attention_mask=spliced.mask
            if is_plain
            else packed_mask(spliced, language_model.config),
            position_ids=spliced.positions if shared is None else shared,
            labels=spliced.labels,
            output_hidden_states=True,
            use_cache=False,
        )
        return output.hidden_states[-1], output.loss

    def _embeddings(self, batch: ReferringBatch) -> Float[Tensor, "b c h w"]:
        """The embedding of each row's picture; if several rows have it, it is made once."""
        numbers: dict[str, int] = {}
        owners = [numbers.setdefault(one.key, len(numbers)) for one in batch.pictures]
        first = [owners.index(number) for number in range(len(numbers))]
        pixels = None if batch.pixels is None else batch.pixels[first]
        embeddings = self.masks.embed(pixels, [batch.pictures[row] for row in first])
        return embeddings[torch.tensor(owners, device=embeddings.device)]


def hidden_states(
    states: Float[Tensor, "b s e"], spliced: Spliced, rows: Rows, hidden: Hidden
) -> Float[Tensor, "n e"]:
    """The hidden state of each expression that becomes its prompt; see `ReferringModel`.

    Raises:
        ValueError: If a row has no such state.
    """
    columns = prompt_columns(spliced, rows.row, rows.seg, hidden)
    if hidden != "words":
        return states[rows.row, columns]
    text = spliced.text[rows.row]
    is_word = (text >= 0) & (text <= rows.seg[:, None])
    if spliced.blocks is not None:
        blocks = spliced.blocks[rows.row]
        is_word &= (blocks == blocks.gather(1, columns[:, None])) | (blocks < 0)
    words = torch.einsum("ns,nse->ne", is_word.to(states), spliced.embeds[rows.row].to(states))
    return states[rows.row, columns] + words


def prompt_columns(spliced: Spliced, row: Tensor, seg: Tensor, hidden: Hidden) -> Tensor:
    """`[n]` the columns of spliced rows whose hidden states become prompts.

    Args:
        spliced: the rows.
        row: `[n]` the row of each expression.
        seg: `[n]` the column of [SEG] in that row's ids.
        hidden: see `ReferringModel`.

    Raises:
        ValueError: If a row has no such column, or nothing stands before it.
    """
    at_seg = spliced.text[row] == seg[:, None]
    columns = at_seg.int().argmax(1) - int(hidden == "before")
    if not bool(at_seg.any(1).all()) or bool((columns < 0).any()):
        raise ValueError(f"a row has no token {hidden} [SEG]: rows need it in the answer")
    return columns


def full_size(logits: Float[Tensor, "b h w"], placements: Sequence[Placed]) -> list[Tensor]:
    """Each mask's logits at the size of its picture; those that lie alike are enlarged together."""
    rows_of: dict[Placed, list[int]] = {}
    for row, placement in enumerate(placements):
        rows_of.setdefault(placement, []).append(row)
    full: list[Tensor] = [logits[0]] * len(logits)
    for placement, rows in rows_of.items():
        for row, enlarged in zip(rows, placement.full(logits[rows]), strict=True):
            full[row] = enlarged
    return full
