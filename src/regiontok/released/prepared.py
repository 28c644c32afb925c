"""PreparedPrompts: prompts with one placeholder a visual token, and the tokens themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.sizes import ShownBySizes
from regiontok.released.family import Family, ImageTokens
from regiontok.released.ready_tokens import visual_outputs

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True, eq=False, repr=False)
class PreparedPrompts(ShownBySizes):
    """Prompts with one placeholder a visual token, and the tokens that take their place.

    Attributes:
        input_ids: `[b s]` int64.
        attention_mask: `[b s]` int64, 1 for a token and 0 for padding.
        tokens: the tokens of each image, in the order of the placeholders of the batch.
        other_inputs: what else the processor made for the language model, and position ids where
            the family gives them.
    """

    input_ids: Int[Tensor, "b s"]
    attention_mask: Int[Tensor, "b s"]
    tokens: tuple[ImageTokens, ...] = ()
    other_inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> list[int]:
        """Tokens of each image."""
        return [len(image) for image in self.tokens]

    @property
    def has_positions(self) -> bool:
        """True if the family gives position ids."""
        return "position_ids" in self.other_inputs

    def inputs(self) -> dict[str, Any]:
        """Arguments for one call of the released model's `forward` or `generate`.

        They serve one call only, because beams change the visual object.
        """
        ids = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        visual = {"mm_encoder_outputs": visual_outputs(self.tokens)} if self.tokens else {}
        return {**ids, **self.other_inputs, **visual}

    def followed_by(self, further: Int[Tensor, "b n"], family: Family) -> PreparedPrompts:
        """The same prompts with further text behind them, to be read in one call.

        Args:
            further: ids of the text, as many of each prompt.
            family: the model's family, which gives positions where the model cannot count them.
        """
        further = further.to(self.input_ids.device)
        ids = torch.cat([self.input_ids, further], 1)
        mask = torch.cat([self.attention_mask, torch.ones_like(further)], 1)
        # what there is of each id, such as its type, is 0 of text
        inputs = {
            name: torch.cat([value, value.new_zeros(further.shape)], 1)
            if isinstance(value, Tensor) and value.shape == self.input_ids.shape
            else value
            for name, value in self.other_inputs.items()
            if name != "position_ids"
        }
        position_ids = family.position_ids(ids, mask, self.tokens)
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        return replace(self, input_ids=ids, attention_mask=mask, other_inputs=inputs)

    def check_last_column(self, image_token_id: int) -> None:
        """Refuse prompts that decoding cannot go on from: the last column must be text.

        Raises:
            ValueError: If it is padding, or an image's token where the family gives positions.
        """
        if not self.attention_mask[:, -1].all():
            raise ValueError(
                "generation goes on from the last column, which is padding here: "
                "prepare(..., side='left')"
            )
        if self.has_positions and (self.input_ids[:, -1] == image_token_id).any():
            raise ValueError(
                "a prompt ends with an image, where this model would go on at a wrong position: "
                "end it with text"
            )

    def without_cached(self, length: int, image_token_id: int) -> PreparedPrompts:
        """The same prompts without the tokens of images that lie in a cache.

        Args:
            length: columns that the cache holds.
            image_token_id: the placeholder of a visual token.

        Raises:
            ValueError: If the cache is longer than the prompts, or ends inside an image.
        """
        if length >= self.input_ids.shape[1]:
            raise ValueError(
                f"the cache holds {length} tokens, the prompts {self.input_ids.shape[1]}: prepare "
                "the whole conversation, what is cached and what is new"
            )
        is_visual = (self.input_ids == image_token_id) & self.attention_mask.bool()
        columns_by_image = is_visual.nonzero()[:, 1].split(self.counts)
        new = [bool((columns >= length).any()) for columns in columns_by_image]
        cached = [bool((columns < length).any()) for columns in columns_by_image]
        if any(is_new and is_cached for is_new, is_cached in zip(new, cached, strict=True)):
            raise ValueError(
                f"the cache ends inside an image (after {length} tokens): it is of another "
                "conversation"
            )
        remaining = [image for image, is_new in zip(self.tokens, new, strict=True) if is_new]
        return replace(self, tokens=tuple(remaining))
