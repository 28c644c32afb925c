"""What a language model attends to, without eager attention: SDPA runs, and only the wanted softmax
rows are kept, in float32.

After: diagnostic study (row D16): the attention that answer tokens pay to visual tokens.
Differs: the row of an answer token is the one that PREDICTS it (the query one place before it), so
that the first token of an answer has one and a last token that is never read needs none. Rows are
computed in float32 from the queries and keys as they are; eager attention multiplies in the model's
type.

What is kept takes `bytes_kept`: 5.5 MiB a row for 1,400 tokens in 32 layers of 32 heads, where
eager attention in bfloat16 holds 3.7 GiB. One layer at a time, a float32 copy of its keys is made
besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from regiontok.core.tokens import CLS, REGION, WHOLE, Tokens

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NAME = "regiontok_watch"  # without "flash" in it, at which transformers would look for kernels
_WATCHED: WeakKeyDictionary[nn.Module, Watch] = (
    WeakKeyDictionary()
)  # by module, so that other models and threads keep apart


class Watch:
    """The rows kept so far. Made by `watch`.

    Attributes:
        steps: one a forward call of the language model: layer -> `[b heads r s]` float32 (with
            `keys`, `[b heads r t]`).
    """

    def __init__(self, rows: Int[Tensor, "b r"] | None, keys: Int[Tensor, "b t"] | None) -> None:
        self.rows, self.keys = rows, keys
        self.steps: list[dict[int, Float[Tensor, "b heads r s"]]] = []
        self._past = 0

    def attention(self) -> Float[Tensor, "layers b heads r s"]:
        """All rows, call after call; what a row cannot see (padding, later tokens, beyond its
        window) is 0, and each sums to 1.

        With `keys`, only their columns, in their order.

        Raises:
            ValueError: nothing was kept: the model was not called, or its attention does not go
                through `AttentionInterface`.
        """
        if not self.steps or not self.steps[0]:
            raise ValueError(
                "no attention row was kept: call the model inside `with watch(...)`"
                if not self.steps
                else "no attention row was kept: this model's attention does not go through transformers' AttentionInterface"
            )
        longest = max(rows.shape[-1] for rows in self.steps[-1].values())
        laid = [
            torch.cat(
                [
                    nn.functional.pad(step[layer], (0, longest - step[layer].shape[-1]))
                    for step in self.steps
                ],
                2,
            )
            for layer in sorted(self.steps[0])
        ]
        return torch.stack(laid)

    def _begin(self, _module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        """Before each call of the decoder: a new step, behind what its cache holds."""
        cache = kwargs.get("past_key_values")
        self._past = int(cache.get_seq_length()) if cache is not None else 0
        self.steps.append({})

    def _keep(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        scaling: float | None,
        causal: bool,
    ) -> None:
        at = self._wanted(query)
        b, heads, q, d = query.shape
        kv, n = key.shape[1], key.shape[2]
        picked = (
            query.take_along_dim(at[:, None, :, None], 2).float().view(b, kv, heads // kv, -1, d)
        )
        scores = (picked @ key.float().transpose(-1, -2)[:, :, None]).view(b, heads, -1, n)
        scores = scores * (d**-0.5 if scaling is None else scaling)
        if mask is None:
            last = (
                at if q > 1 and causal else torch.full_like(at, n - 1)
            )  # without a mask one query sees all, as SDPA has it
            mask = (torch.arange(n, device=at.device) <= last[..., None])[:, None]
        else:
            mask = mask[..., :n].expand(b, -1, q, n).take_along_dim(at[:, None, :, None], 2)
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
        rows = scores.softmax(-1).nan_to_num(0)  # a row of padding sees nothing
        total = self._past + q
        # a window's keys are the last ones of the sequence; a cache of fixed length has room behind
        # it
        rows = nn.functional.pad(rows, (total - n, 0)) if n < total else rows[..., :total]
        if self.keys is not None:
            columns = self.keys.to(rows.device)
            seen = (columns >= 0) & (columns < total)
            rows = (
                rows.take_along_dim(columns.clamp(0, total - 1)[:, None, None], -1)
                * seen[:, None, None]
            )
        self.steps[-1][layer] = rows

    def _wanted(self, query: Tensor) -> Int[Tensor, "b r"]:
        """Rows of these queries."""
        b, _, q, _ = query.shape
        if self.rows is None:
            return torch.full((b, 1), q - 1, device=query.device)
        at = self.rows.to(query.device)
        at = torch.where(at < 0, at + self._past + q, at) - self._past
        if len(at) not in (1, b):
            raise ValueError(
                f"rows are given for {len(at)} sequences, but the model was called with {b}"
            )
        if bool(((at < 0) | (at >= q)).any()):
            raise ValueError(
                f"rows {self.rows.tolist()} are not all among the {q} tokens of this call (behind {self._past} in the cache); "
                "to watch each step of generate take rows=None"
            )
        return at.expand(b, -1)


@contextmanager
def watch(
    model: nn.Module,
    rows: Sequence[int] | Tensor | None = None,
    keys: Sequence[int] | Tensor | None = None,
) -> Iterator[Watch]:
    """Keep attention rows of every call of `model` inside the `with` block; its logits are those of
    SDPA.

    Args:
        model: a causal language model, a `RegionVLM`, a `ReleasedVLM` or any model of transformers
            with one decoder of text.
        rows: columns of the sequence whose attention is kept: `[r]` or, differing by sequence, `[b
            r]`; negative ones count from the end. None keeps the last row of each call: with
            `generate`, that which predicts each new token (greedy and sampling; beams change places
            between steps, and rows do not follow).
        keys: columns `[t]` or `[b t]` to keep of each row (those of the visual tokens, say); None
            keeps all. Rows stay normalised over all.

    Raises:
        ValueError: a model with a soft cap of attention (Gemma2) or with sinks, which SDPA does not
            have; one without SDPA, or watched already; rows that a call does not have.

    >>> from regiontok.model.mini import mini_language_model
    >>> model = mini_language_model(width=24, layers=2, heads=3)
    >>> with watch(model) as seen:
    ...     _ = model(torch.tensor([[5, 6, 7, 8]]))
    >>> seen.attention().shape
    torch.Size([2, 1, 3, 1, 4])
    """
    decoder = text_decoder(model)
    _check(decoder)
    seen = Watch(_table(rows), _table(keys))
    modules = [module for module in decoder.modules() if hasattr(module, "layer_idx")]
    # of the decoder and of what hangs on it alone: a vision tower's stays as it is
    configs = {
        id(module.config): module.config
        for module in (decoder, *modules)
        if hasattr(module, "config")
    }
    before = [(config, config._attn_implementation) for config in configs.values()]
    hook = decoder.register_forward_pre_hook(seen._begin, with_kwargs=True)
    try:
        for module in modules:
            _WATCHED[module] = seen
        for config, _ in before:
            config._attn_implementation = NAME
        yield seen
    finally:
        hook.remove()
        for config, name in before:
            config._attn_implementation = name
        for module in modules:
            _WATCHED.pop(module, None)


def text_decoder(model: Any) -> Any:
    """The stack of layers that reads text and visual tokens.

    Raises:
        ValueError: there is none.
    """
    while not hasattr(model, "get_decoder") and hasattr(model, "model"):
        model = model.model  # a `ReleasedVLM` holds the released model
    decoder, outer = model, None
    while decoder is not outer and hasattr(
        decoder, "get_decoder"
    ):  # a `RegionVLM` has a whole language model as its decoder
        decoder, outer = decoder.get_decoder(), decoder
    if outer is None or not hasattr(decoder, "config"):
        raise ValueError(
            f"{type(model).__name__} has no decoder of text to watch (get_decoder gives none)"
        )
    return decoder


def _check(decoder: Any) -> None:
    name, config = type(decoder).__name__, decoder.config
    if getattr(config, "attn_logit_softcapping", None):
        raise ValueError(
            f"{name} caps its attention (attn_logit_softcapping), which SDPA cannot: load it with eager attention"
        )
    if not getattr(decoder, "_supports_sdpa", False) or not decoder._can_set_attn_implementation():
        raise ValueError(
            f"{name} does not run SDPA through transformers' AttentionInterface: its rows cannot be kept this way"
        )
    if config._attn_implementation == NAME:
        raise ValueError(f"this {name} is being watched already: one `watch` at a time")


def _table(columns: Sequence[int] | Tensor | None) -> Tensor | None:
    if columns is None:
        return None
    table = torch.as_tensor(columns, dtype=torch.int64)
    if table.ndim not in (1, 2):
        raise ValueError(f"columns are [r] or [b r], got {list(table.shape)}")
    return table if table.ndim == 2 else table[None]


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA; the wanted rows on the side."""
    own = _WATCHED.get(module)
    if (
        kwargs.get("s_aux") is not None
        or kwargs.get("position_bias") is not None
        or kwargs.get("softcap") is not None
    ):
        raise ValueError(
            "attention with sinks, a soft cap or a bias of positions cannot be watched through SDPA"
        )
    if own is not None:
        causal = kwargs.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        with torch.no_grad():
            own._keep(
                int(module.layer_idx),
                query,
                key,
                attention_mask,
                kwargs.get("scaling"),
                bool(causal),
            )
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def bytes_kept(config: Any, rows: int, keys: int, sequences: int = 1) -> int:
    """What `watch` keeps, by calculation: float32 for each layer, head, row and key.

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(num_hidden_layers=32, num_attention_heads=32)
    >>> round(bytes_kept(config, rows=1, keys=1400) / 2**20, 1)
    5.5
    """
    return 4 * config.num_hidden_layers * config.num_attention_heads * rows * keys * sequences


@dataclass(frozen=True, eq=False)
class RegionAttention:
    """Where an answer looked, as shares of all its attention: means over answer rows, heads and
    layers.

    Attributes:
        regions: `[k]` float64, of each region of one view (all its tokens together).
        whole, cls: of the whole-image token and the CLS tokens, which are no regions (row D16
            leaves them out).
        other: of the remaining visual tokens: delimiters, newlines, other views, tokens of no
            region.
        text: of everything that is not visual, the sequence's first token included.
    """

    regions: Float[Tensor, "k"]
    whole: float
    cls: float
    other: float
    text: float

    @property
    def visual(self) -> float:
        """Of all visual tokens together."""
        return float(self.regions.sum()) + self.whole + self.cls + self.other

    @property
    def shares(self) -> Float[Tensor, "k"]:
        """`[k]` the same, of the attention that goes to visual tokens: a ratio of means, so that a
        head which does not look at the picture has no say in it."""
        return self.regions / self.visual if self.visual else self.regions


def region_attention(
    rows: Float[Tensor, "layers heads r t"], tokens: Tokens, regions: int, *, view: int = 0
) -> RegionAttention:
    """Which regions of a picture the rows look at.

    Args:
        rows: of one sequence, at the columns of ONE picture's tokens, normalised over all keys:
            `watch(..., keys=columns)`.
        tokens: of that picture, in the same order.
        regions: how many the view has; one without a token gets 0.
        view: whose regions are counted; those of other views count as `other`.

    Raises:
        ValueError: another number of columns than of tokens, no row, or a region beyond the last.

    >>> one = torch.tensor([0, 0, 0])
    >>> tokens = Tokens(torch.zeros(3, 2), one, one, torch.tensor([-1, 0, 1]), one - 1, torch.tensor([1, 0, 0]), images=1)
    >>> found = region_attention(torch.tensor([[[[0.25, 0.5, 0.0]]]]), tokens, 2)
    >>> found.regions.tolist(), found.whole, found.text
    ([0.5, 0.0], 0.25, 0.25)
    """
    if rows.ndim != 4 or rows.shape[-1] != len(tokens) or not rows.shape[:-1].numel():
        raise ValueError(
            f"expected rows [layers heads r {len(tokens)}], a column a visual token, got {list(rows.shape)}"
        )
    mean = rows.double().flatten(0, 2).mean(0).cpu()
    kind, region = tokens.kind.cpu(), tokens.region.cpu()
    own = (kind == REGION) & (tokens.view.cpu() == view) & (region >= 0)
    if bool((region[own] >= regions).any()):
        raise ValueError(
            f"a token is of region {int(region[own].max())}, but the view has {regions} regions"
        )
    found = torch.zeros(regions, dtype=torch.float64).index_add_(0, region[own], mean[own])
    whole, cls = float(mean[kind == WHOLE].sum()), float(mean[kind == CLS].sum())
    other = float(mean[~own & (kind != WHOLE) & (kind != CLS)].sum())
    return RegionAttention(found, whole, cls, other, 1 - float(mean.sum()))
