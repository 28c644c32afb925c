"""Generation behind spliced rows, whose prompts come back as they were before they were spliced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from regiontok.model.cached_rows import CachedRows, cached_length, note_rows, noted_rows
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
    cache = options.get("past_key_values")
    if cached_length(cache):
        check_cached_beginning(cache, spliced)
    options |= {"inputs_embeds": spliced.embeds, "attention_mask": spliced.mask.long()}
    if spliced.shared_positions is None:
        output = language_model.generate(**options)
    else:
        with read_by(position_table(spliced), language_model):
            output = language_model.generate(**options, position_ids=spliced.positions)
    if cache is not None and len(spliced.mask) == 1:  # several rows may end at different places
        length = cached_length(cache)
        note_rows(cache, CachedRows(spliced.mask.new_ones(1, length), None))
    new_ids = output if isinstance(output, Tensor) else output.sequences
    prompts = input_ids.repeat_interleave(len(new_ids) // len(input_ids), 0)
    sequences = torch.cat([prompts, new_ids], 1)
    if isinstance(output, Tensor):
        return sequences
    output.sequences = sequences
    return output


def check_cached_beginning(cache: Any, spliced: Spliced) -> None:
    """Raise if a cache is not of a beginning of the rows.

    Args:
        cache: the cache of an earlier call.
        spliced: the rows of the whole conversations.

    Raises:
        ValueError: If the cache is as long as the rows or longer, or its columns are padding where
            theirs are not.
    """
    length, (batch, longest) = cached_length(cache), spliced.mask.shape
    if length >= longest:
        raise ValueError(
            f"the cache holds {length} tokens, the prompts {longest}: give the whole conversation, "
            "what is cached and what is new"
        )
    known = noted_rows(cache, batch)
    if known is None and batch == 1:
        return  # filled by the language model itself, without padding
    if known is None or not torch.equal(known.columns, spliced.mask[:, :length]):
        raise ValueError(
            "the columns of this cache are not those of the beginning of these rows, which padding "
            "moves: go on with one conversation at a time"
        )


@dataclass(frozen=True)
class SpecialIds:
    """Ids by which padding is told from text.

    Attributes:
        pad: the id that fills rows; None if there is none.
        others: ids that begin or end a text.
    """

    pad: int | None
    others: frozenset[int]

    @classmethod
    def of(
        cls, options: Mapping[str, Any], generation: Sequence[Any], language_config: Any
    ) -> SpecialIds:
        """The ids that `generate` takes; it pads with the end id where there is no other.

        Args:
            options: options of the call.
            generation: generation configs, the first one counts first; each may be None.
            language_config: config of the language model.
        """

        def first(name: str) -> Any:
            sources = [*generation, language_config]
            values = [options.get(name), *(getattr(source, name, None) for source in sources)]
            return next((value for value in values if value is not None), None)

        ends = first("eos_token_id")
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        begin, pad = first("bos_token_id"), first("pad_token_id")
        others = frozenset([*ends, *([] if begin is None else [begin])])
        return cls(pad if pad is not None else next(iter(ends), None), others)


def mask_of_padding(ids: Int[Tensor, "b l"], special: SpecialIds) -> Tensor | None:
    """The mask of prompts that came without one; None if none of their ids is padding.

    Args:
        ids: the prompts.
        special: the id of padding, and those that begin or end a text.

    Raises:
        ValueError: If the padding id also begins or ends a text, and stands more often at an end of
            one row than of another, or twice: then it cannot be told from text.

    >>> mask_of_padding(torch.tensor([[0, 0, 5], [6, 0, 7]]), SpecialIds(0, frozenset({1, 2})))
    tensor([[0, 0, 1],
            [1, 1, 1]])
    """
    if special.pad is None or not ids.numel():
        return None
    is_pad = (ids == special.pad).long()
    leading = is_pad.cumprod(1)
    trailing = is_pad.flip(1).cumprod(1).flip(1)
    padding = (leading | trailing).bool()
    if not bool(padding.any()):
        return None
    if special.pad in special.others:
        ends = torch.stack([leading.sum(1), trailing.sum(1)])
        if int(ends.max()) <= 1 and bool((ends == ends[:, :1]).all()):
            return None  # every row begins, or ends, with one
        raise ValueError(
            f"the id {special.pad} stands at an end of some prompts, where it is padding or begins "
            "or ends a text: give attention_mask (the processor makes it)"
        )
    return (~padding).long()


def suppressing(
    token_id: int, device: torch.device, options: dict[str, Any], saved: Any
) -> dict[str, Any]:
    """Options of `generate` by which a token is never generated, nor those suppressed already.

    Args:
        token_id: the token.
        device: where the model runs.
        options: options of `generate`, of which a processor of ours takes the place of
            transformers' own.
        saved: the generation config of the model, which counts where the options have none.
    """
    config = options.get("generation_config") or saved
    already = options.get("suppress_tokens") or config.suppress_tokens or ()
    tokens = sorted({token_id, *map(int, already)})
    suppress = SuppressTokensLogitsProcessor(tokens, device=str(device))
    processors = [*(options.get("logits_processor") or ()), suppress]
    return {**options, "logits_processor": LogitsProcessorList(processors)}
