"""Who may attend to whom in packed rows: each sample, and each of its blocks, as if it were alone.

After: transformers' masks.
Differs: nothing known. Positions that begin anew are not enough: with a cache, or beside a mask of
ones, transformers lets samples see each other (logits then differ by 10); so the mask is made here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_masks_for_generate

from regiontok.model.splice import Spliced
from regiontok.system.errors import first_line


def check_packing(model: Any) -> None:
    """Raise unless a language model computes each sample of a packed row as if it were alone.

    Two samples of a few ids are asked, once with another first one: families differ in the masks
    and positions that they take, and models with a state carry it from sample to sample.

    Args:
        model: a `RegionVLM` with weights; it is left in the mode it came in.

    Raises:
        ValueError: If it does not.
    """
    kind = f"a language model of type {model.config.language_config.model_type!r}"
    advice = "train without packing: pack = false"
    was_training = model.training
    model.eval()
    try:
        alone, packed, beside_another = _logits_of_a_sample(model)
    # a family that does not take such a mask may raise anything
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        raise ValueError(f"{kind} takes no packed rows ({first_line(error)}); {advice}") from error
    finally:
        model.train(was_training)
    scale = float(alone.abs().max())
    in_float32 = alone.dtype == torch.float32
    if float((packed - beside_another).abs().max()) > (1e-5 if in_float32 else 1e-2) * scale:
        raise ValueError(f"{kind} lets the samples of a packed row see each other; {advice}")
    if float((packed - alone).abs().max()) > (1e-3 if in_float32 else 5e-2) * scale:
        raise ValueError(f"{kind} does not begin anew with each sample of a packed row; {advice}")


def check_blocks(model: Any, longest: int) -> None:
    """Raise unless blocks of a row can be computed as if each were the only one.

    A sliding window counts the columns of a row, and not the positions: what a block shares with
    others would be out of its sight too early.

    Args:
        model: a `RegionVLM`.
        longest: tokens of the longest row.

    Raises:
        ValueError: If the language model has a window that is shorter than rows may be, or its
            pictures share a position.
    """
    config = model.config
    window = getattr(config.language_config, "sliding_window", None)
    if window is not None and window < longest:
        raise ValueError(
            f"the language model sees {window} tokens back, and rows may have {longest}: "
            f"independent questions need max_length = {window} or less"
        )
    if config.positions != "plain":
        raise ValueError(
            f"positions = {config.positions!r} know no blocks: set turns = 'conversation'"
        )


@torch.no_grad()
def _logits_of_a_sample(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a sample alone, and of the same one packed behind either of two others."""
    ids = text_ids(model, 13)
    sample, neighbours = ids[:, :5], (ids[:, 5:9], ids[:, 9:])
    segments = torch.tensor([[0] * 4 + [1] * 5], device=ids.device)
    alone = model(input_ids=sample, use_cache=False).logits
    packed = [
        model(input_ids=torch.cat([neighbour, sample], 1), segments=segments).logits[:, 4:]
        for neighbour in neighbours
    ]
    return alone, packed[0], packed[1]


def text_ids(model: Any, count: int) -> Tensor:
    """`[1 count]` ids of text for a `RegionVLM`, on its device: for trying out what it takes."""
    vocabulary = model.config.language_config.vocab_size
    usable = [number for number in range(min(vocabulary, 64)) if number != _placeholder(model)]
    return torch.tensor([usable * count], device=model.device)[:, -count:]


def _placeholder(model: Any) -> int:
    return int(model.config.image_token_id)


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

    blocks = spliced.blocks

    def of_one_sample(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_same = segments[row, query] == segments[row, key]
        if blocks is None:
            return is_same
        is_seen = (blocks[row, key] == blocks[row, query]) | (blocks[row, key] < 0)
        return is_same & is_seen

    return create_masks_for_generate(
        config=config.get_text_config(),
        inputs_embeds=spliced.embeds,
        attention_mask=spliced.mask,
        past_key_values=None,
        position_ids=spliced.positions,
        and_mask_function=of_one_sample,
    )
