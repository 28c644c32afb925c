"""VisualHead: norm, pool, places and connector: (grids, members) -> Tokens. Everything of a region
tokenizer that learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import CLS, NEWLINE, WHOLE, Tokens, interleave
from regiontok.methods import Connector, Place, Pool
from regiontok.system.choices import check_choice


class RMSNorm(nn.RMSNorm):
    """RMSNorm over channels with a learnable scale that starts at 1 (row D7); in float32, back in
    the input's type."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise `[... d]`."""
        return super().forward(values.to(self.weight.dtype)).to(values.dtype)


class VisualHead(nn.Module):
    """Norm, pool, places and connector: (grids, members) -> Tokens. Everything that learns lives
    here.

    Args:
        width: of the encoder's features.
        norm: "none" or "rms".
        pool: a built pool.
        whole: a token (under `select` a block) of the whole image in front; it goes through the
            same pool (row D11, O6).
        cls: the encoder's CLS or summary tokens in front, one each, never a register (row D11).
        connector: a built connector that takes every token to the width `out` of a language model;
            None leaves the encoder's width.
        out: see `connector`.
        newline: a learned token ends each row of the views beside the base view; their regions must
            be single patches.
        place_features: built places, in front of the connector (delimiters as vectors of the
            encoder's width: row O7).
        place_tokens: built places behind the connector (positions: row O8).

    Raises:
        ValueError: a place that cannot stand where it is put.
    """

    def __init__(
        self,
        width: int,
        *,
        norm: str = "none",
        pool: Pool,
        whole: bool = False,
        cls: bool = False,
        connector: Connector | None = None,
        out: int | None = None,
        newline: bool = False,
        place_features: Sequence[Place] = (),
        place_tokens: Sequence[Place] = (),
    ) -> None:
        super().__init__()
        check_choice("norm", norm, ("none", "rms"))
        _check_places(place_features, place_tokens)
        self.norm = RMSNorm(width, eps=1e-6) if norm == "rms" else nn.Identity()
        self.pool = pool.build(width)
        self.connector = connector.build(width, out or width) if connector else nn.Identity()
        self.whole, self.cls = whole, cls
        # LLaVA-NeXT's scale, so that it starts as long as a token is
        self.newline = (
            nn.Parameter(torch.randn(out or width) * (out or width) ** -0.5) if newline else None
        )
        self.place_features = nn.ModuleList(place.build(width) for place in place_features)
        self.place_tokens = nn.ModuleList(place.build(out or width) for place in place_tokens)

    def forward(self, grids: Sequence[PatchGrid], members: Members) -> Tokens:
        """Tokens of a batch: CLS, whole image, regions (view by view), image by image."""
        values = self.norm(torch.cat([grid.pooled.flatten(0, -2) for grid in grids]))
        parts = [self.pool(values, members)]
        if self.newline is not None:
            parts = [_with_line_ends(parts[0], grids, members)]
        if self.whole:  # the other views show the same image
            bases = [Regions.from_masks(grid.valid[None] & (grid.view == 0)) for grid in grids]
            parts.insert(0, self.pool(values, Members.of(bases, members.image), kind=WHOLE))
        if self.cls:
            parts.insert(0, self._cls(grids))
        tokens = interleave(parts) if len(parts) > 1 else parts[0]
        for place in self.place_features:
            tokens = place(tokens, grids)
        values = self.connector(tokens.values)
        if self.newline is not None:
            values = torch.where(
                (tokens.kind == NEWLINE)[:, None], self.newline.to(values.dtype), values
            )
        tokens = tokens.but(values)
        for place in self.place_tokens:
            tokens = place(tokens, grids)
        return tokens

    def _cls(self, grids: Sequence[PatchGrid]) -> Tokens:
        bases = [grid for grid in grids if grid.view == 0]
        prefixes = [
            grid.prefix[: grid.summaries]
            for grid in bases
            if grid.prefix is not None and grid.summaries
        ]
        if len(prefixes) < len(bases):
            raise ValueError("this encoder has no CLS or summary token; set cls=False")
        rows = torch.cat(prefixes)
        slots = [Regions.singletons((1, grid.summaries)).to(rows.device) for grid in bases]
        return Tokens.of_regions(self.norm(rows), Members.of(slots), CLS)


def _check_places(features: Sequence[Place], tokens: Sequence[Place]) -> None:
    """Delimiters of the vocabulary have no value in front of the connector, and cannot be told from
    others behind it."""
    if any(place.token for place in features):
        raise ValueError(
            "a token of the vocabulary stands behind the connector: put it in place_tokens, not place_features"
        )
    named = {place.token for place in tokens if place.token}
    vectors = [place for place in (*features, *tokens) if place.token == ""]
    if len(named) > 1 or (named and vectors):
        raise ValueError(
            f"delimiters are vectors or one token of the vocabulary, not both: {sorted(named)} and {len(vectors)} vectors"
        )


def _with_line_ends(tokens: Tokens, grids: Sequence[PatchGrid], members: Members) -> Tokens:
    """Tokens of single patches, and behind each row of a view that is no base view one of kind
    newline, whose value is yet to come."""
    device = tokens.values.device
    if len(tokens) != len(members.patch) or bool((members.sizes > 1).any()):
        raise ValueError("newlines end rows of patches: they need regions of one patch each")
    width, follows = (
        torch.tensor(each, device=device)
        for each in zip(*((g.grid[-1], g.view > 0) for g in grids), strict=True)
    )
    view = members.view
    row = torch.stack([view, (members.patch - members.patches[view]) // width[view]])
    ends = torch.ones(len(tokens), dtype=torch.bool, device=device)
    ends[:-1] = (row.diff() != 0).any(0)
    at = (ends & follows[view]).nonzero()[:, 0]
    index = torch.cat([torch.arange(len(tokens), device=device), at]).sort().values
    new = torch.zeros_like(index, dtype=torch.bool)
    new[1:] = (
        index.diff() == 0
    )  # a token taken twice: the second time it stands for the end of its row
    taken = tokens.take(index)
    region, patch = (ids.masked_fill(new, -1) for ids in (taken.region, taken.patch))
    return replace(taken, region=region, patch=patch, kind=taken.kind.masked_fill(new, NEWLINE))
