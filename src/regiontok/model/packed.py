"""Who may attend to whom in packed rows: each sample as if it were alone.

After: transformers' masks.
Differs: nothing known. Positions that begin anew are not enough: with a cache, or beside a mask of
ones, transformers lets samples see each other (logits then differ by 10); so the mask is made here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.masking_utils import create_masks_for_generate

from regiontok.model.splice import Spliced


def packed_mask(spliced: Spliced, config: Any) -> Any:
    """The mask of packed rows in the form that the language model's attention function takes.

    Sliding windows are part of it.

    Args:
        spliced: rows with segments.
        config: config of the language model.

    Raises:
        ValueError: If the rows have no segments, or attention is a flash one, which takes no such
            mask and would let samples see each other.
    """
    segments = spliced.segments
    if segments is None:
        raise ValueError("these rows are not packed: pass their mask")
    if "flash" in (config._attn_implementation or ""):
        raise ValueError(
            "packed rows need attn_implementation 'sdpa' or 'eager', not "
            f"{config._attn_implementation!r}"
        )

    def of_one_sample(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return segments[row, query] == segments[row, key]

    return create_masks_for_generate(
        config=config.get_text_config(),
        inputs_embeds=spliced.embeds,
        attention_mask=spliced.mask,
        past_key_values=None,
        position_ids=spliced.positions,
        and_mask_function=of_one_sample,
    )
