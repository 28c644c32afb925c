"""Generation behind spliced rows, whose prompts come back as they were before they were spliced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from regiontok.model.positions import position_table, read_by
from regiontok.model.splice import Spliced

if TYPE_CHECKING:
    from jaxtyping import Int


def generate_behind(
    spliced: Spliced, language_model: Any, input_ids: Int[Tensor, "b l"], **options: Any
) -> Any:
    """What transformers' `generate` gives, the prompts' own ids in front of what is new.

    Args:
        spliced: the rows, padded on the left.
        language_model: what generates.
        input_ids: the prompts with one placeholder a picture.
        **options: options of transformers' `generate`.
    """
    options |= {"inputs_embeds": spliced.embeds, "attention_mask": spliced.mask.long()}
    if spliced.shared_positions is None:
        output = language_model.generate(**options)
    else:
        with read_by(position_table(spliced), language_model):
            output = language_model.generate(**options, position_ids=spliced.positions)
    new_ids = output if isinstance(output, Tensor) else output.sequences
    prompts = input_ids.repeat_interleave(len(new_ids) // len(input_ids), 0)
    sequences = torch.cat([prompts, new_ids], 1)
    if isinstance(output, Tensor):
        return sequences
    output.sequences = sequences
    return output


def suppressing(token_id: int, device: torch.device, options: dict[str, Any]) -> dict[str, Any]:
    """Options of `generate` by which a token is never generated."""
    suppress = SuppressTokensLogitsProcessor([token_id], device=str(device))
    processors = [*(options.get("logits_processor") or ()), suppress]
    return {**options, "logits_processor": LogitsProcessorList(processors)}
