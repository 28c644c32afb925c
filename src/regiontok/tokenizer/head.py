"""VisualHead: norm, pool, places and connector, which turn grids and members into tokens.

Everything of a region tokenizer that learns is in it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import CLS, NEWLINE, WHOLE, Tokens, interleave
from regiontok.methods import Connector, Place, Pool
from regiontok.system.choices import check_choice

if TYPE_CHECKING:
    from jaxtyping import Float


class RMSNorm(nn.RMSNorm):
    """RMSNorm over channels with a learnable scale that starts at 1 (row D7).

    It computes in float32 and gives back the input's type.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Normalise `[... d]`."""
        return super().forward(values.to(self.weight.dtype)).to(values.dtype)


class VisualHead(nn.Module):
    """Norm, pool, places and connector: grids and members in, tokens out.

    Args:
        width: width of the encoder's features.
        norm: "none" or "rms".
        partition_on: "raw" lets region steps read the features as they are, "normed" what the norm
            gives of them (row D7); see `read_by_steps`.
        pool: the pool, which `build` turns into a module.
        whole: True puts a token (under `select` a block) of the whole image in front; it goes
            through the same pool (rows D11, O6).
        cls: True puts the encoder's CLS or summary tokens in front, one each; registers never
            (row D11).
        connector: takes every token to the width `out` of a language model, as one token or
            several; None leaves the encoder's width.
        out: width of the tokens behind the connector; None is `width`.
        newline: True ends each row of the views beside the base view with a learned token; their
            regions must be single patches.
        place_features: places in front of the connector (delimiters as vectors of the encoder's
            width: row O7).
        place_tokens: places behind the connector (positions: row O8).

    Raises:
        ValueError: If a place cannot stand where it is put, also behind a connector that makes
            several tokens of one, or `partition_on` asks for a norm that is not there.
    """

    def __init__(
        self,
        width: int,
        *,
        norm: str = "none",
        partition_on: str = "raw",
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
        check_choice("partition_on", partition_on, ("raw", "normed"))
        if partition_on == "normed" and norm == "none":
            raise ValueError("partition_on='normed' needs a norm: say norm='rms'")
        _check_places(place_features, place_tokens)
        self._rows = connector.rows if connector else 1
        if self._rows > 1 and (newline or any(place.token is not None for place in place_tokens)):
            raise ValueError(
                f"the connector makes {self._rows} tokens of one: delimiters and newlines cannot "
                "stand behind it"
            )
        out = out or width
        self.norm = RMSNorm(width, eps=1e-6) if norm == "rms" else nn.Identity()
        self.pool = pool.build(width)
        self.connector = connector.build(width, out) if connector else nn.Identity()
        self.whole, self.cls, self.partition_on = whole, cls, partition_on
        # LLaVA-NeXT's scale, so that it starts as long as a token is
        self.newline = nn.Parameter(torch.randn(out) * out**-0.5) if newline else None
        self.place_features = nn.ModuleList(place.build(width) for place in place_features)
        self.place_tokens = nn.ModuleList(place.build(out) for place in place_tokens)
        self._reads_members = [
            [place.reads_members for place in places] for places in (place_features, place_tokens)
        ]

    def but(self, *, whole: bool, cls: bool, partition_on: str, newline: bool) -> VisualHead:
        """The same weights with other tokens in front, or other features for steps.

        Args:
            whole, cls, partition_on, newline: see `VisualHead`.

        Raises:
            ValueError: If a newline token is asked for that was never trained.
        """
        if newline and self.newline is None:
            raise ValueError(
                "the rows of tiles end in a newline token here, and this head was trained without"
            )
        head = copy.copy(self)
        head.whole, head.cls, head.partition_on = whole, cls, partition_on
        if not newline:
            head._parameters = {**self._parameters, "newline": None}
        return head

    def read_by_steps(self, grids: Sequence[PatchGrid]) -> list[PatchGrid]:
        """The grids as region steps read them; what pools read stays as it is.

        With `partition_on="raw"` they are the grids themselves, with "normed" their features have
        gone through the norm.
        """
        if self.partition_on == "raw":
            return list(grids)
        return [grid.but(features=self.norm(grid.features), values=grid.pooled) for grid in grids]

    def forward(self, grids: Sequence[PatchGrid], members: Members) -> Tokens:
        """Tokens of a batch: CLS, whole image, regions (view by view), image by image."""
        tokens = self.features(grids, members)
        values = self._connected(tokens.values)
        if self._rows > 1:
            tokens = tokens.take(
                torch.arange(len(tokens), device=values.device).repeat_interleave(self._rows)
            )
        if self.newline is not None:
            is_newline = (tokens.kind == NEWLINE)[:, None]
            values = torch.where(is_newline, self.newline.to(values.dtype), values)
        tokens = tokens.but(values)
        for place, reads in zip(self.place_tokens, self._reads_members[1], strict=True):
            tokens = place(tokens, grids, members) if reads else place(tokens, grids)
        return tokens

    def features(self, grids: Sequence[PatchGrid], members: Members) -> Tokens:
        """The tokens of a batch in front of the connector; newlines have no value of theirs yet."""
        values = self.norm(torch.cat([grid.pooled.flatten(0, -2) for grid in grids]))
        token_groups = [self.pool(values, members)]
        if self.newline is not None:
            token_groups = [_with_line_ends(token_groups[0], grids, members)]
        if self.whole:  # the other views show the same image
            bases = [Regions.from_masks(grid.valid[None] & (grid.view == 0)) for grid in grids]
            token_groups.insert(0, self.pool(values, Members.of(bases, members.image), kind=WHOLE))
        if self.cls:
            token_groups.insert(0, self._cls_tokens(grids))
        tokens = interleave(token_groups) if len(token_groups) > 1 else token_groups[0]
        for place, reads in zip(self.place_features, self._reads_members[0], strict=True):
            tokens = place(tokens, grids, members) if reads else place(tokens, grids)
        return tokens

    def _connected(self, values: Float[Tensor, "t d"]) -> Float[Tensor, "t*rows e"]:
        """Values through the connector, in its own type where theirs is another; theirs come out.

        Features in bfloat16 go so through a connector in float32, as norms and pools take them.
        """
        weight = next(self.connector.parameters(), None)
        if weight is None or not weight.is_floating_point() or weight.dtype == values.dtype:
            connected: Tensor = self.connector(values)
            return connected
        connected = self.connector(values.to(weight.dtype))
        return connected.to(values.dtype)

    def _cls_tokens(self, grids: Sequence[PatchGrid]) -> Tokens:
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
    """Refuse delimiters of the vocabulary in front of the connector, or beside others behind it.

    In front they have no value yet, and behind they cannot be told from other delimiters.
    """
    if any(place.token for place in features):
        raise ValueError(
            "a token of the vocabulary stands behind the connector: put it in place_tokens, not "
            "place_features"
        )
    named = {place.token for place in tokens if place.token}
    vectors = [place for place in (*features, *tokens) if place.token == ""]
    if len(named) > 1 or (named and vectors):
        raise ValueError(
            "delimiters are vectors or one token of the vocabulary, not both: "
            f"{sorted(named)} and {len(vectors)} vectors"
        )


def _with_line_ends(tokens: Tokens, grids: Sequence[PatchGrid], members: Members) -> Tokens:
    """Tokens of single patches, each row of a view beside the base view ended by a newline token.

    The newlines' values are yet to come: each is a copy of the token before it.
    """
    device = tokens.values.device
    if len(tokens) != len(members.patch) or bool((members.sizes > 1).any()):
        raise ValueError("newlines end rows of patches: they need regions of one patch each")
    grid_width = torch.tensor([grid.grid[-1] for grid in grids], device=device)
    has_newlines = torch.tensor([grid.view > 0 for grid in grids], device=device)
    view = members.view
    row = torch.stack([view, (members.patch - members.patches[view]) // grid_width[view]])
    ends_row = torch.ones(len(tokens), dtype=torch.bool, device=device)
    ends_row[:-1] = (row.diff() != 0).any(0)
    doubled = (ends_row & has_newlines[view]).nonzero()[:, 0]
    index = torch.cat([torch.arange(len(tokens), device=device), doubled]).sort().values
    # a token that is taken twice stands for the end of its row the second time
    is_newline = torch.zeros_like(index, dtype=torch.bool)
    is_newline[1:] = index.diff() == 0
    taken = tokens.take(index)
    return replace(
        taken,
        region=taken.region.masked_fill(is_newline, -1),
        patch=taken.patch.masked_fill(is_newline, -1),
        kind=taken.kind.masked_fill(is_newline, NEWLINE),
    )
