"""Who may attend to whom in packed rows: each sample as if it were alone.

After: transformers' masks.
Differs: nothing known. Positions that begin anew are not enough: with a cache, or beside a mask of
ones, transformers lets samples see each other (logits then differ by 10, measured); so the mask is
made here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.masking_utils import create_masks_for_generate

from regiontok.model.splice import Spliced


def packed_mask(made: Spliced, config: Any) -> Any:
    """The mask of packed rows in the form that the language model's attention function takes;
    sliding windows too.

    Args:
        made: rows with segments.
        config: of the language model.

    Raises:
        ValueError: rows without segments; flash attention, which takes no such mask and would let
            samples see each other.
    """
    segments = made.segments
    if segments is None:
        raise ValueError("these rows are not packed: pass their mask")
    if "flash" in (config._attn_implementation or ""):
        raise ValueError(
            f"packed rows need attn_implementation 'sdpa' or 'eager', not {config._attn_implementation!r}"
        )

    def same(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return segments[row, query] == segments[row, key]

    return create_masks_for_generate(
        config=config.get_text_config(),
        inputs_embeds=made.embeds,
        attention_mask=made.mask,
        past_key_values=None,
        position_ids=made.positions,
        and_mask_function=same,
    )
