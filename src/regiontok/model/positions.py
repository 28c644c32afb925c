"""Segmentation-aware RoPE: the rows of a mask share the position of its first one, through position
ids alone.

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


def segment_positions(made: Spliced, tokens: Tokens | None) -> Int[Tensor, "b s"]:
    """Positions of spliced rows in which each row of a mask has that of the mask's first row; in
    packed rows by sample.

    Args:
        made: the rows; `visual` and `positions` are read.
        tokens: those that were spliced, by whose image, view and region a mask is known.

    >>> ids = torch.zeros(4, dtype=torch.int64)
    >>> tokens = Tokens(torch.zeros(4, 1), ids, ids, torch.tensor([0, 0, 0, 1]), torch.arange(4), ids, images=1)
    >>> row, visual = torch.arange(6)[None], torch.tensor([[-1, 0, 1, 2, 3, -1]])
    >>> segment_positions(Spliced(torch.zeros(1, 6, 1), row >= 0, row, visual, row), tokens).tolist()
    [[0, 1, 1, 1, 4, 5]]
    """
    if tokens is None or not len(tokens):
        return made.positions
    device = made.visual.device
    at = made.visual.clamp(min=0)
    rows = (made.visual >= 0) & ((tokens.kind == REGION) & (tokens.region >= 0)).to(device)[at]
    goes_on = torch.zeros_like(rows)
    goes_on[:, 1:] = rows[:, 1:] & rows[:, :-1]
    for ids in (tokens.image, tokens.view, tokens.region):
        goes_on[:, 1:] &= ids.to(device)[at].diff(dim=1) == 0
    column = torch.arange(rows.shape[1], device=device).expand_as(at)
    first = column.masked_fill(goes_on, 0).cummax(1).values
    return made.positions.gather(1, first)


def table_of(made: Spliced, shared: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """`[b s]` what position p of a row becomes, for rows that are not packed; behind a row's end p
    itself."""
    table = torch.arange(made.mask.shape[1], device=shared.device).repeat(len(shared), 1)
    row, column = made.mask.nonzero(as_tuple=True)
    table[row, made.positions[row, column]] = shared[row, column]
    return table


@contextmanager
def read_by(table: Int[Tensor, "b s"], language_model: Any) -> Iterator[None]:
    """While it is open, this thread's calls of the language model read position p of row r as
    `table[r, p]`, and as p where it ends.

    `generate` counts on from a prompt's last position, which is wrong behind a prompt that ends in
    a mask; so it counts plain positions, and they are replaced on their way into the decoder: at
    prefill and every step, for each of a row's beams.
    """

    decoder = language_model.get_decoder()
    # once and for good: a hook that comes and goes would trip other threads that are going through
    # the hooks
    with _INSTALLING:
        if _replaced not in decoder._forward_pre_hooks.values():
            decoder.register_forward_pre_hook(_replaced, with_kwargs=True)
    before = _TABLE.set(table)
    try:
        yield
    finally:
        _TABLE.reset(before)


def _replaced(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """What the decoder is called with, its positions read through this thread's table, if there is
    one."""
    table = _TABLE.get()
    if table is None:
        return None
    plain = kwargs["position_ids"]
    own = table.to(plain.device).repeat_interleave(len(plain) // len(table), 0)
    ids = own.gather(1, plain.clamp(max=own.shape[1] - 1)).where(plain < own.shape[1], plain)
    return args, {**kwargs, "position_ids": ids}


def check_rotary(language_model: nn.Module) -> None:
    """Raise if a language model has no rotary positions.

    Raises:
        ValueError: it has none.
    """
    if not any("rotary" in name for name, _ in language_model.named_modules()):
        raise ValueError(
            f"positions='segment' is of rotary positions, and {type(language_model).__name__} has none; take 'plain'"
        )


def check_first(shared: Int[Tensor, "b s"], made: Spliced, attention: str | None) -> None:
    """Raise if flash attention would take a row for packed ones: it begins a new one wherever the
    first position comes again.

    Raises:
        ValueError: a row begins with a mask of several rows, and attention is a flash one.
    """
    again = (shared == 0) & (made.positions > 0) & made.mask
    if "flash" in (attention or "") and bool(again.any()):
        raise ValueError(
            f"row {int(again.any(1).nonzero()[0])} begins with a mask, whose repeated position 0 flash attention takes for the start of "
            "another sample: let the prompt begin with text (a BOS token), or take attn_implementation 'sdpa'"
        )
