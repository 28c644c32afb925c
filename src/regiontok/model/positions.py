"""Segmentation-aware RoPE: the rows of a mask share the position of its first one.

Position ids alone do it.

After: OG-LLaVA, section 5.4.3 (row O8): a position inside the interval (s, e) of a mask becomes s,
every other stays as it is. So what follows a mask goes on at its own place in the sequence, and
decoding at the sequence's length: positions are not renumbered.
Differs: nothing known in the formula. In the release the intervals leave out the prompt in front of
the image and are lost in `generate`; here they are those of the spliced row, and each decode step
goes through the same table. A mask's interval holds its rows and no delimiter. Patches without
masks are intervals of one: the plain model, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regiontok.core.tokens import REGION, Tokens
from regiontok.model.splice import Spliced

if TYPE_CHECKING:
    from jaxtyping import Int

# of the call that runs in this thread: several may generate at once on one model
_TABLE: ContextVar[Tensor | None] = ContextVar("positions", default=None)
_INSTALLING = Lock()


def segment_positions(spliced: Spliced, tokens: Tokens | None) -> Int[Tensor, "b s"]:
    """Positions of spliced rows in which each row of a mask has that of the mask's first row.

    In packed rows they are counted sample by sample.

    Args:
        spliced: the rows; `visual` and `positions` are read.
        tokens: the tokens that were spliced; image, view and region say which mask one is of.

    >>> ids = torch.zeros(4, dtype=torch.int64)
    >>> region = torch.tensor([0, 0, 0, 1])
    >>> tokens = Tokens(torch.zeros(4, 1), ids, ids, region, torch.arange(4), ids, images=1)
    >>> row, visual = torch.arange(6)[None], torch.tensor([[-1, 0, 1, 2, 3, -1]])
    >>> spliced = Spliced(torch.zeros(1, 6, 1), row >= 0, row, visual, row)
    >>> segment_positions(spliced, tokens).tolist()
    [[0, 1, 1, 1, 4, 5]]
    """
    if tokens is None or not len(tokens):
        return spliced.positions
    device = spliced.visual.device
    token_index = spliced.visual.clamp(min=0)
    is_mask_token = ((tokens.kind == REGION) & (tokens.region >= 0)).to(device)[token_index]
    is_mask_token &= spliced.visual >= 0
    continues_mask = torch.zeros_like(is_mask_token)
    continues_mask[:, 1:] = is_mask_token[:, 1:] & is_mask_token[:, :-1]
    for ids in (tokens.image, tokens.view, tokens.region):
        continues_mask[:, 1:] &= ids.to(device)[token_index].diff(dim=1) == 0
    column = torch.arange(is_mask_token.shape[1], device=device).expand_as(token_index)
    first_column = column.masked_fill(continues_mask, 0).cummax(1).values
    return spliced.positions.gather(1, first_column)


def position_table(spliced: Spliced) -> Int[Tensor, "b s"]:
    """`[b s]`, what position p of a row becomes; behind a row's end p itself.

    Args:
        spliced: rows with shared positions that are not packed.
    """
    shared = spliced.shared_positions
    if shared is None:
        raise ValueError("these rows have no shared positions: their positions stay as they are")
    table = torch.arange(spliced.mask.shape[1], device=shared.device).repeat(len(shared), 1)
    row, column = spliced.mask.nonzero(as_tuple=True)
    table[row, spliced.positions[row, column]] = shared[row, column]
    return table


@contextmanager
def read_by(table: Int[Tensor, "b s"], language_model: Any) -> Iterator[None]:
    """While it is open, the language model reads position p of row r as `table[r, p]`.

    It does so in this thread's calls, and reads p as p where the table ends. `generate` counts on
    from a prompt's last position, which is wrong behind a prompt that ends in a mask; so it counts
    plain positions, and they are replaced on their way into the decoder: at prefill and every step,
    for each of a row's beams.
    """

    decoder = language_model.get_decoder()
    # once and for good: a hook that comes and goes would trip other threads that are going through
    # the hooks
    with _INSTALLING:
        if _with_table_positions not in decoder._forward_pre_hooks.values():
            decoder.register_forward_pre_hook(_with_table_positions, with_kwargs=True)
    previous = _TABLE.set(table)
    try:
        yield
    finally:
        _TABLE.reset(previous)


def _with_table_positions(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The decoder's arguments, positions read through this thread's table if there is one."""
    table = _TABLE.get()
    if table is None:
        return None
    plain = kwargs["position_ids"]
    rows = table.to(plain.device).repeat_interleave(len(plain) // len(table), 0)
    in_table = rows.gather(1, plain.clamp(max=rows.shape[1] - 1))
    return args, {**kwargs, "position_ids": in_table.where(plain < rows.shape[1], plain)}


def check_rotary(language_model: nn.Module) -> None:
    """Raise if a language model has no rotary positions.

    Raises:
        ValueError: If it has none.
    """
    if not any("rotary" in name for name, _ in language_model.named_modules()):
        raise ValueError(
            f"positions='segment' is of rotary positions, and {type(language_model).__name__} has "
            "none; take 'plain'"
        )


def check_first(spliced: Spliced, attention: str | None) -> None:
    """Raise if flash attention would take a row with shared positions for packed ones.

    It begins a new sample wherever the first position comes again.

    Raises:
        ValueError: If a row begins with a mask of several rows, and attention is a flash one.
    """
    if spliced.shared_positions is None or "flash" not in (attention or ""):
        return
    again = (spliced.shared_positions == 0) & (spliced.positions > 0) & spliced.mask
    if bool(again.any()):
        raise ValueError(
            f"row {int(again.any(1).nonzero()[0])} begins with a mask, whose repeated position 0 "
            "flash attention takes for the start of another sample: let the prompt begin with "
            "text (a BOS token), or take attn_implementation 'sdpa'"
        )
