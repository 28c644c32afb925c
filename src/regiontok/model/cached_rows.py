"""Which columns of a cache of keys and values hold tokens, for a call that goes on behind them.

Rows are laid anew when they are spliced, so a cache's columns are not those of the ids. What they
are is noted on the cache itself; a copy of it, the beginning of it (`crop`) and rows that are
repeated keep the note.

After: transformers' caches, and its convention of a mask over the cache and what is new.
Differs: a mask over the ids of all calls is taken as well, for who calls knows no more than these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.sizes import ShownBySizes

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

_NOTE = "regiontok_rows"  # the attribute of a cache that holds its `CachedRows`


@dataclass(frozen=True, eq=False, repr=False)
class CachedRows(ShownBySizes):
    """The rows of a cache.

    Attributes:
        columns: `[b p]`, True for a column that holds a token.
        ids: `[b n]`, True for a token among the ids of the calls that filled it; None if that is
            not known.
    """

    columns: Bool[Tensor, "b p"]
    ids: Bool[Tensor, "b n"] | None

    @property
    def lengths(self) -> Int[Tensor, "b"]:
        """Tokens of each row."""
        return self.columns.sum(1)


@dataclass(frozen=True, eq=False, repr=False)
class Continued(ShownBySizes):
    """What a call goes on from.

    Attributes:
        past: the rows of the cache; without a column if there is nothing in it.
        mask: `[b l]`, 1 for a token among the new ids; None if none of them is padding.
        ids: `[b n + l]`, True for a token among the ids of all calls; None if that is not known.
    """

    past: CachedRows
    mask: Tensor | None
    ids: Bool[Tensor, "b m"] | None

    def with_new(self, columns: Bool[Tensor, "b s"]) -> CachedRows:
        """The rows of the cache once the new ones are in it.

        Args:
            columns: True for a new column that holds a token.
        """
        return CachedRows(torch.cat([self.past.columns, columns], 1), self.ids)


def cached_length(cache: Any) -> int:
    """Columns of a cache; 0 without one."""
    return 0 if cache is None else int(cache.get_seq_length())


def note_rows(cache: Any, rows: CachedRows) -> None:
    """Note on a cache what its columns hold."""
    if cache is not None:
        setattr(cache, _NOTE, rows)


def noted_rows(cache: Any, batch: int) -> CachedRows | None:
    """What is noted of a cache, or None if nothing is, or the note does not fit it any longer.

    Args:
        cache: the cache, perhaps shortened, or its rows repeated, since the note.
        batch: rows of the call.
    """
    rows: CachedRows | None = getattr(cache, _NOTE, None)
    length = cached_length(cache)
    if rows is None or rows.columns.shape[1] < length or batch % len(rows.columns):
        return None
    repeats = batch // len(rows.columns)
    columns = rows.columns[:, :length].repeat_interleave(repeats, 0)
    if rows.ids is None or rows.columns.shape[1] > length:
        return CachedRows(columns, None)
    return CachedRows(columns, rows.ids.repeat_interleave(repeats, 0))


def continued(cache: Any, mask: Tensor | None, rows: Tensor) -> Continued:
    """What a call goes on from.

    Args:
        cache: the cache; None or an empty one goes on from nothing.
        mask: 1 for a token and 0 for padding, of the new ids, of the ids of all calls, or of the
            cache's columns and the new ids; None if none of the new ids is padding.
        rows: `[b l]`, the new ids, or anything of their shape.

    Raises:
        ValueError: If the mask has another width, or is of the new ids alone and nothing is known
            of the cache.
    """
    (batch, new), length = rows.shape, cached_length(cache)
    mask = None if mask is None else mask.to(rows.device).bool()
    all_new = torch.ones(batch, new, dtype=torch.bool, device=rows.device)
    if not length:
        columns = all_new[:, :0]
        return Continued(CachedRows(columns, columns), mask, all_new if mask is None else mask)
    known = noted_rows(cache, batch)
    if mask is None:
        past = known or CachedRows(all_new[:, :1].expand(-1, length), None)
    elif known is not None and mask.shape[1] == new:
        past = known
    else:
        past, mask = _past_of(mask, known, new, length), mask[:, -new:]
    ids = None
    if past.ids is not None:
        ids = torch.cat([past.ids, all_new if mask is None else mask], 1)
    return Continued(past, mask, ids)


def _past_of(
    mask: Bool[Tensor, "b m"], known: CachedRows | None, new: int, length: int
) -> CachedRows:
    """The rows of a cache, out of a mask that goes over them.

    Args:
        mask: of the ids of all calls, or of the cache's columns and the new ids.
        known: what is noted of the cache.
        new: number of new ids of a row.
        length: columns of the cache.
    """
    past = mask[:, :-new]
    if known is not None and known.ids is not None and torch.equal(past, known.ids):
        return known  # the columns of the cache lie otherwise than the ids did
    if past.shape[1] == length:
        return CachedRows(past, None)
    if known is None and not past.shape[1]:
        raise ValueError(
            f"the attention mask is of the {new} new tokens, and it is not known which of the "
            f"{length} columns of this cache are padding: give a mask of all {length + new}"
        )
    widths = {new, length + new}
    if known is not None and known.ids is not None:
        widths.add(known.ids.shape[1] + new)
        if mask.shape[1] in widths:
            raise ValueError(
                "the attention mask says something else of the ids in the cache than the mask they "
                "were read with"
            )
    expected = ", ".join(map(str, sorted(widths)))
    raise ValueError(
        f"the attention mask has {mask.shape[1]} columns; with this cache it may have {expected}: "
        f"the {new} new ids, the {length} columns of the cache and these, or the ids of all calls"
    )


def check_gaps(past: Bool[Tensor, "b p"], new: Bool[Tensor, "b s"], language_model: Any) -> None:
    """Raise if there is padding between tokens where the language model counts columns.

    A sliding window reaches over so many columns, and a recurrent state goes through each.

    Args:
        past: columns of the cache that hold tokens.
        new: new columns that hold tokens.
        language_model: the language model.

    Raises:
        ValueError: If it does so, and a row has such padding.
    """
    if not past.shape[1] or not _counts_columns(language_model):
        return
    mask = torch.cat([past, new], 1).long()
    begun, goes_on = mask.cummax(1).values, mask.flip(1).cummax(1).values.flip(1)
    torn = (begun & goes_on & (1 - mask)).any(1)
    if bool(torn.any()):
        raise ValueError(
            f"row {int(torn.nonzero()[0])} has padding between its tokens in the cache, where "
            f"{type(language_model).__name__} counts columns (a sliding window, a recurrent "
            "state): pass side='left' in every call, or take generate"
        )


def _counts_columns(language_model: Any) -> bool:
    """True if some layer is no full attention."""
    config = language_model.config.get_text_config()
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        return any(layer != "full_attention" for layer in layers)
    is_recurrent = bool(getattr(language_model, "_is_stateful", False))
    return is_recurrent or bool(getattr(config, "sliding_window", None))
