"""SplicingReader: the rows that a language model reads, with the words of what pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regiontok.core.tokens import Tokens
from regiontok.model.limits import limit_tokens
from regiontok.model.naming import ObjectWords, connector_naming, words_of_tokens
from regiontok.model.picture_reader import PictureReader
from regiontok.model.positions import check_first, segment_positions
from regiontok.model.splice import Side, Spliced, splice
from regiontok.model.visual import OtherSteps, UsedSettings, VisualInput
from regiontok.settings import registry
from regiontok.tokenizer.pipeline import last_members

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class SplicingReader(PictureReader):
    """The visual side of a `RegionVLM`, and its tokens among those of the text.

    Attributes:
        language_model: any causal language model.
    """

    language_model: Any

    def spliced(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        *,
        draw: int = 0,
        regions: OtherSteps = None,
        settings: UsedSettings = "trained",
        limits: Sequence[int | None] | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        blocks: Int[Tensor, "b l"] | None = None,
        objects: Sequence[ObjectWords | None] | None = None,
        side: Side = "right",
    ) -> Spliced:
        """The sequence that the language model gets.

        Args:
            input_ids, attention_mask, labels, segments, blocks, side: see `splice`.
            pictures, draw, regions, limits: see `forward`.
            settings: see `see`.
            objects: what each picture shows; its tokens then have the words for it.

        Raises:
            ValueError: If there are blocks without segments, or of a model in which rows of a mask
                share a position; or objects of ready-made tokens.
        """
        if blocks is not None and self.config.positions != "plain":
            raise ValueError(
                f"positions={self.config.positions!r} know no blocks: turns='conversation'"
            )
        if blocks is not None and segments is None:
            raise ValueError("blocks are parts of samples: give segments, too")
        tokens, words, naming = self._tokens_and_words(
            pictures, objects, limits, draw=draw, regions=regions, settings=settings
        )
        spliced = splice(
            input_ids,
            attention_mask,
            tokens,
            placeholder=self.config.image_token_id,
            embed=self.get_input_embeddings(),
            labels=labels,
            segments=segments,
            blocks=blocks,
            side=side,
        )
        spliced = replace(spliced, words=words, naming=naming)
        if self.config.positions == "plain":
            return spliced
        spliced = replace(spliced, shared_positions=segment_positions(spliced, tokens))
        check_first(spliced, self.language_model.config._attn_implementation)
        return spliced

    def _tokens_and_words(
        self,
        pictures: Sequence[VisualInput] | Tokens | None,
        objects: Sequence[ObjectWords | None] | None,
        limits: Sequence[int | None] | None,
        *,
        draw: int,
        regions: OtherSteps,
        settings: UsedSettings,
    ) -> tuple[Tokens | None, Int[Tensor, "t words"] | None, Float[Tensor, ""] | None]:
        """The visual tokens of pictures, and what is to be said of them if objects are given.

        These are the words of each token, or the loss of a connector that names them itself.
        """
        if not isinstance(pictures, Tokens) and not pictures:
            return None, None, None
        if isinstance(pictures, Tokens) or objects is None:
            if objects is not None:
                raise ValueError("the objects of ready-made tokens are not known: give pictures")
            tokens = (
                pictures
                if isinstance(pictures, Tokens)
                else self.see(pictures or [], draw=draw, regions=regions, settings=settings)
            )
            return tokens if limits is None else limit_tokens(tokens, limits), None, None
        tokens, grids, trails = self._see(
            pictures or [], None, draw=draw, regions=regions, settings=settings
        )
        tokens = tokens if limits is None else limit_tokens(tokens, limits)
        members = last_members(trails, grids)
        connector = registry.build("connector", self.config.connector)
        if not connector.names_regions:
            return tokens, words_of_tokens(tokens, grids, members, objects), None
        features = self.head.features(grids, members)
        words = words_of_tokens(features, grids, members, objects)
        return tokens, None, connector_naming(connector, self.head.connector, features, words)
