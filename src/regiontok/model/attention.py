"""What a language model attends to, without eager attention.

SDPA runs, and only the wanted softmax rows are kept, in float32.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: while decoding, the row that is kept with an answer token is the one that PREDICTS it (the
query one place before it), so that the first token of an answer has one and a last token that is
never read needs none; `model/answer_attention.py` gives the tokens' own rows. Rows are computed in
float32 from the queries and keys as they are; eager attention multiplies in the model's type.

What is kept takes `bytes_kept`: 5.5 MiB a row for 1,400 tokens in 32 layers of 32 heads, where
eager attention in bfloat16 holds 3.7 GiB. One layer at a time, a float32 copy of its keys is made
besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from regiontok.model.attention_rows import at_columns, softcapped_output, softmax_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NAME = "regiontok_watch"  # without "flash" in it, at which transformers would look for kernels
# by attention module, so that other models and threads keep apart
_WATCHES: WeakKeyDictionary[nn.Module, Watch] = WeakKeyDictionary()


class Watch:
    """The attention rows of all calls so far; the context manager `watch` makes one.

    Attributes:
        steps: one entry a forward call of the language model: layer -> `[b heads r s]` float32
            (with `keys`, `[b heads r t]`).
    """

    def __init__(self, rows: Int[Tensor, "b r"] | None, keys: Int[Tensor, "b t"] | None) -> None:
        self.rows, self.keys = rows, keys
        self.steps: list[dict[int, Float[Tensor, "b heads r s"]]] = []
        self._past = 0  # columns that the cache held before this call

    def attention(self) -> Float[Tensor, "layers b heads r s"]:
        """All rows, call after call, with `keys` only their columns in their order.

        What a row cannot see (padding, later tokens, beyond its window) is 0, and over all keys
        each row sums to 1.

        Raises:
            ValueError: If nothing was kept: the model was not called, or its attention does not go
                through `AttentionInterface`.
        """
        if not self.steps:
            raise ValueError("no attention row was kept: call the model inside `with watch(...)`")
        if not self.steps[0]:
            raise ValueError(
                "no attention row was kept: this model's attention does not go through "
                "transformers' AttentionInterface"
            )
        longest = max(rows.shape[-1] for rows in self.steps[-1].values())
        by_layer = [
            torch.cat(
                [
                    nn.functional.pad(step[layer], (0, longest - step[layer].shape[-1]))
                    for step in self.steps
                ],
                2,
            )
            for layer in sorted(self.steps[0])
        ]
        return torch.stack(by_layer)

    def _begin_step(self, _module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        """Before each call of the decoder: a new step, behind what its cache holds."""
        cache = kwargs.get("past_key_values")
        self._past = int(cache.get_seq_length()) if cache is not None else 0
        self.steps.append({})

    def _keep(
        self,
        layer: int,
        query: Float[Tensor, "b heads q d"],
        key: Float[Tensor, "b kv n d"],
        *,
        mask: Tensor | None,
        scaling: float | None,
        causal: bool,
        softcap: float | None,
    ) -> None:
        """Compute and keep one layer's wanted rows of this call."""
        columns = self._wanted_queries(query)
        queries, keys = query.shape[2], key.shape[2]
        rows = softmax_rows(
            query, key, columns, mask=mask, scaling=scaling, causal=causal, softcap=softcap
        )
        total = self._past + queries
        # a window's keys are the last ones of the sequence; a cache of fixed length has room behind
        # it
        rows = nn.functional.pad(rows, (total - keys, 0)) if keys < total else rows[..., :total]
        self.steps[-1][layer] = rows if self.keys is None else at_columns(rows, self.keys)

    def _wanted_queries(self, query: Tensor) -> Int[Tensor, "b r"]:
        """Indices of the wanted rows among the queries of this call."""
        batch, _, queries, _ = query.shape
        if self.rows is None:
            return torch.full((batch, 1), queries - 1, device=query.device)
        rows = self.rows.to(query.device)
        index = torch.where(rows < 0, rows + queries, rows - self._past)
        if len(index) not in (1, batch):
            raise ValueError(
                f"rows are given for {len(index)} sequences, but the model was called with {batch}"
            )
        if bool(((index < 0) | (index >= queries)).any()):
            raise ValueError(
                f"rows {self.rows.tolist()} are not all among the {queries} tokens of this call "
                f"(behind {self._past} in the cache); to watch each step of generate take rows=None"
            )
        return index.expand(batch, -1)


@contextmanager
def watch(
    model: nn.Module,
    rows: Sequence[int] | Tensor | None = None,
    keys: Sequence[int] | Tensor | None = None,
) -> Iterator[Watch]:
    """Keep attention rows of every call of `model` inside the `with` block.

    The model's logits are those of SDPA.

    Args:
        model: a causal language model, a `RegionVLM`, a `ReleasedVLM` or any model of transformers
            with one decoder of text.
        rows: columns of the sequence whose attention is kept: `[r]` or, differing by sequence,
            `[b r]`; negative ones count from the end. None keeps the last row of each call: with
            `generate`, that which predicts each new token (greedy and sampling; beams change places
            between steps, and rows do not follow).
        keys: columns `[t]` or `[b t]` to keep of each row (those of the visual tokens, say); None
            keeps all. Rows stay normalised over all.

    Raises:
        ValueError: If the model has sinks of attention, which SDPA does not have, runs no SDPA (a
            soft cap, as Gemma2 has it, is computed here), or is watched already; if a call does not
            have the rows.

    >>> from regiontok.model.mini import mini_language_model
    >>> model = mini_language_model(width=24, layers=2, heads=3)
    >>> with watch(model) as attention_watch:
    ...     _ = model(torch.tensor([[5, 6, 7, 8]]))
    >>> attention_watch.attention().shape
    torch.Size([2, 1, 3, 1, 4])
    """
    decoder = text_decoder(model)
    _check(decoder)
    attention_watch = Watch(_table(rows), _table(keys))
    modules = [module for module in decoder.modules() if hasattr(module, "layer_idx")]
    # of the decoder and of what hangs on it alone: a vision tower's stays as it is
    configs = {
        id(module.config): module.config
        for module in (decoder, *modules)
        if hasattr(module, "config")
    }
    previous = [(config, config._attn_implementation) for config in configs.values()]
    hook = decoder.register_forward_pre_hook(attention_watch._begin_step, with_kwargs=True)
    try:
        for module in modules:
            _WATCHES[module] = attention_watch
        for config, _ in previous:
            config._attn_implementation = NAME
        yield attention_watch
    finally:
        hook.remove()
        for config, implementation in previous:
            config._attn_implementation = implementation
        for module in modules:
            _WATCHES.pop(module, None)


def text_decoder(model: Any) -> Any:
    """The stack of layers that reads text and visual tokens.

    Raises:
        ValueError: If there is none.
    """
    while not hasattr(model, "get_decoder") and hasattr(model, "model"):
        model = model.model  # a `ReleasedVLM` holds the released model
    decoder, outer = model, None
    # a `RegionVLM` has a whole language model as its decoder
    while decoder is not outer and hasattr(decoder, "get_decoder"):
        decoder, outer = decoder.get_decoder(), decoder
    if outer is None or not hasattr(decoder, "config"):
        raise ValueError(
            f"{type(model).__name__} has no decoder of text to watch (get_decoder gives none)"
        )
    return decoder


def _check(decoder: Any) -> None:
    name, config = type(decoder).__name__, decoder.config
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    runs_sdpa = capped or getattr(decoder, "_supports_sdpa", False)
    if not runs_sdpa or not decoder._can_set_attn_implementation():
        raise ValueError(
            f"{name} does not run SDPA through transformers' AttentionInterface: its rows cannot "
            "be kept this way"
        )
    if config._attn_implementation == NAME:
        raise ValueError(f"this {name} is being watched already: one `watch` at a time")


def _table(columns: Sequence[int] | Tensor | None) -> Tensor | None:
    """Columns as `[b r]`, of one row if they are the same for all sequences."""
    if columns is None:
        return None
    table = torch.as_tensor(columns, dtype=torch.int64)
    if table.ndim not in (1, 2):
        raise ValueError(f"columns are [r] or [b r], got {list(table.shape)}")
    return table if table.ndim == 2 else table[None]


def _watched_sdpa(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA, which keeps the wanted rows of a watched module besides."""
    attention_watch = _WATCHES.get(module)
    if any(kwargs.get(name) is not None for name in ("s_aux", "position_bias")):
        raise ValueError(
            "attention with sinks or a bias of positions cannot be watched through SDPA"
        )
    causal, softcap = kwargs.get("is_causal"), kwargs.get("softcap")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if attention_watch is not None:
        with torch.no_grad():
            attention_watch._keep(
                int(module.layer_idx),
                query,
                key,
                mask=attention_mask,
                scaling=kwargs.get("scaling"),
                causal=bool(causal),
                softcap=softcap,
            )
    if softcap is not None:
        output = softcapped_output(
            query,
            key,
            value,
            mask=attention_mask,
            scaling=kwargs.get("scaling"),
            causal=bool(causal),
            softcap=softcap,
        )
        return output, None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(NAME, _watched_sdpa)
AttentionMaskInterface.register(NAME, sdpa_mask)


def bytes_kept(config: Any, rows: int, keys: int, sequences: int = 1) -> int:
    """Bytes that `watch` keeps, by calculation: float32 for each layer, head, row and key.

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(num_hidden_layers=32, num_attention_heads=32)
    >>> round(bytes_kept(config, rows=1, keys=1400) / 2**20, 1)
    5.5
    """
    heads = int(config.num_hidden_layers) * int(config.num_attention_heads)
    return 4 * heads * rows * keys * sequences
