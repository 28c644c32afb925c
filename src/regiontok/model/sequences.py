"""SequenceReader: pictures and text as the rows that a language model reads, and goes on from.

After: the forward and `generate` of transformers' models.
Differs: rows are laid anew when they are spliced, so the columns of a cache are not those of the
ids; what they hold is known, and positions and masks of what is new follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from regiontok.core.tokens import Tokens
from regiontok.model.block_attention import by_blocks, mask_of_nothing
from regiontok.model.block_layout import BlockLayout
from regiontok.model.cached_rows import Continued, check_gaps, continued, note_rows
from regiontok.model.generation import (
    SpecialIds,
    generate_behind,
    mask_of_padding,
    suppressing,
)
from regiontok.model.naming import (
    ObjectWords,
    share_of_batch,
    with_naming,
)
from regiontok.model.packed import packed_mask
from regiontok.model.splice import IGNORE, Side, Spliced, check_length
from regiontok.model.splicing_reader import SplicingReader
from regiontok.model.supervised import following_labels, supervised_places
from regiontok.model.visual import OtherSteps, UsedSettings, VisualInput

if TYPE_CHECKING:
    from jaxtyping import Int


class SequenceReader(SplicingReader):
    """The rows of a `RegionVLM`: spliced, read, and answered."""

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Int[Tensor, "b l"] | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        blocks: Int[Tensor, "b l"] | None = None,
        objects: Sequence[ObjectWords | None] | None = None,
        naming: float = 0.0,
        inputs_embeds: Tensor | None = None,
        draw: int = 0,
        regions: OtherSteps = None,
        limits: Sequence[int | None] | None = None,
        side: Side = "right",
        supervised_only: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits `[b s c]` over the spliced rows, and the loss if there are labels.

        The rows are longer than the ids. With `past_key_values`, ids, pictures and labels are the
        new ones alone, and the logits are theirs.

        Args:
            input_ids: one placeholder a picture.
            attention_mask: 1 for a token and 0 for padding. With a cache it may be of the new ids,
                of the ids of all calls, or of the cache's columns and the new ids.
            pictures: the pictures of the whole batch, in the order of their placeholders; or their
                tokens.
            labels: ids to predict, -100 where nothing is supervised.
            segments: the sample of each token, in packed rows.
            blocks: the block of each token within its sample, in packed rows: blocks see what they
                share (-1), and nothing of each other.
            objects: what each picture shows, for the loss of naming it; None where not known.
            naming: weight of that loss, which is a mean over the visual tokens that name something
                and goes with `supervised_only`; a connector that names regions has one of its own.
            inputs_embeds: rows that are already spliced, in place of ids and pictures.
            draw: the epoch: seeded steps draw anew in each, of cached features too.
            regions: other steps than the model's own, "" for every patch without masks: see `see`.
            limits: most visual tokens of each picture, None for all of them: of rows that are cut.
            side: where the padding of spliced rows goes, whichever side that of the ids is on. With
                "left" the last logits are those of each row's last token.
            supervised_only: only the logits `[places c]` of what is supervised; the loss stays what
                it is. Not every language model can: see `keeps_supervised`.
            **kwargs: for the language model, `past_key_values` among them.

        Raises:
            ValueError: If there are both ids and `inputs_embeds` or neither, or pictures or
                segments beside `inputs_embeds`; if visual tokens are to name objects without
                `supervised_only`; if packed rows come with a cache, the mask fits
                neither ids nor cache, or a row is too long.
        """
        _check_one_kind(input_ids, inputs_embeds, pictures, segments)
        if segments is not None and kwargs.get("past_key_values") is not None:
            raise ValueError("packed rows are read in one call: leave past_key_values out")
        if inputs_embeds is not None and getattr(attention_mask, "ndim", 2) != 2:
            # a mask in the form that the attention function takes says everything
            return self._read(inputs_embeds, attention_mask, labels, kwargs)
        cache = kwargs.get("past_key_values")
        if inputs_embeds is not None:
            before = continued(cache, attention_mask, inputs_embeds[..., 0])
            spliced = Spliced.of_embeds(inputs_embeds, before.mask, labels)
        else:
            assert input_ids is not None
            before = continued(cache, attention_mask, input_ids)
            spliced = self.spliced(
                input_ids,
                before.mask,
                pictures,
                labels=labels,
                segments=segments,
                blocks=blocks,
                objects=objects if naming else None,
                draw=draw,
                regions=regions,
                limits=limits,
                side=side,
            )
        if spliced.naming is not None:
            share = naming * share_of_batch(spliced.labels, kwargs.get("num_items_in_batch"))
            named = replace(spliced, naming=None)
            output = self._read_spliced(before, named, supervised_only, naming, kwargs)
            if output.loss is not None:
                output.loss = output.loss + share * spliced.naming
            return output
        return self._read_spliced(before, spliced, supervised_only, naming, kwargs)

    def _read_spliced(
        self,
        before: Continued,
        spliced: Spliced,
        supervised_only: bool,
        naming: float,
        kwargs: dict[str, Any],
    ) -> CausalLMOutputWithPast:
        """The language model's output over spliced rows, block by block where it can be."""
        if supervised_only and spliced.labels is not None:
            if spliced.blocks is not None and by_blocks(self.language_model):
                return self._read_blocks(spliced, spliced.labels, naming, kwargs)
            if spliced.words is None:
                kwargs |= supervised_places(spliced.labels)
        if spliced.words is not None:
            raise ValueError(
                "visual tokens name their objects where questions are computed by blocks: set "
                "turns='independent', with a language model that can"
            )
        return self._read_behind(before, spliced.behind(before.past.lengths), kwargs)

    def _read_behind(
        self, before: Continued, spliced: Spliced, kwargs: dict[str, Any]
    ) -> CausalLMOutputWithPast:
        """The language model's output over spliced rows behind those of a cache.

        Args:
            before: the rows of the cache.
            spliced: the new rows; their positions go on behind the cache's.
            kwargs: for the language model.
        """
        check_length(spliced, self._longest)
        embeds = spliced.embeds
        if self.training and not spliced.visual.ge(0).any():
            embeds = embeds + self.zero_through_head()
        shared = spliced.shared_positions
        kwargs.setdefault("position_ids", spliced.positions if shared is None else shared)
        if spliced.segments is not None:
            mask = packed_mask(spliced, self.language_model.config)
            kwargs["use_cache"] = False  # nothing is decoded from packed rows
        else:
            check_gaps(before.past.columns, spliced.mask, self.language_model)
            mask = torch.cat([before.past.columns, spliced.mask], 1)
        output = self._read(embeds, mask, spliced.labels, kwargs)
        cache = getattr(output, "past_key_values", None)  # RWKV keeps a state of its own
        note_rows(cache, before.with_new(spliced.mask))
        return output

    def _read_blocks(
        self, spliced: Spliced, labels: Tensor, naming: float, kwargs: dict[str, Any]
    ) -> CausalLMOutputWithPast:
        """The loss and supervised logits of rows with blocks, whose tokens are read in one line."""
        check_length(spliced, self._longest)
        layout = BlockLayout.of(spliced)
        embeds, positions, following = (
            values.flatten(0, 1).index_select(0, layout.source)[None]
            for values in (spliced.embeds, spliced.positions, following_labels(labels))
        )
        is_supervised = following != IGNORE
        kwargs |= {"logits_to_keep": is_supervised, "shift_labels": following[is_supervised]}
        kwargs |= {"position_ids": positions, "use_cache": False, "block_layout": layout}
        if spliced.words is not None:
            kwargs["output_hidden_states"] = True
        mask = mask_of_nothing(self.language_model.config)
        output = self._read(embeds, mask, following, kwargs)
        if spliced.words is None:
            return output
        visual = spliced.visual.flatten().index_select(0, layout.source)
        words = spliced.words[visual.clamp(min=0)].masked_fill((visual < 0)[:, None], -1)
        share = share_of_batch(labels, kwargs.get("num_items_in_batch"))
        return with_naming(output, words, self.get_output_embeddings(), naming * share)

    def _read(
        self, embeds: Tensor, mask: Any, labels: Tensor | None, kwargs: dict[str, Any]
    ) -> CausalLMOutputWithPast:
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=embeds, attention_mask=mask, labels=labels, **kwargs
        )
        return output

    @property
    def _longest(self) -> int | None:
        """Positions that the language model has, if it says so."""
        return getattr(self.config.language_config, "max_position_embeddings", None)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Tensor | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        regions: OtherSteps = None,
        settings: UsedSettings | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answers `[b l + new]`: the prompts as they came, then what was generated.

        The prompts keep their placeholders, and none is ever generated. With `past_key_values` of
        an earlier turn the prompts are the whole conversation, and what the cache holds is not read
        again.

        Args:
            input_ids: one placeholder a picture.
            attention_mask: 1 for a token and 0 for padding. None takes padding ids at either end of
                a row for padding.
            pictures: the pictures of all prompts, in the order of their placeholders; or their
                tokens.
            inputs_embeds: rows that are already spliced, in place of ids and pictures; then what
                was generated comes alone.
            regions: other steps on the settings of training, "" for every patch without masks: see
                `see`.
            settings: how pictures are read; None reads them as the model is to be asked
                ("answering", what the recipe's `[inference.tokenizer]` says), or as in training
                where `regions` are given.
            **kwargs: options of transformers' `generate`.

        Raises:
            ValueError: If there is no mask, and padding cannot be told from text; if the cache is
                not of a beginning of these prompts; or see `forward`.
        """
        _check_one_kind(input_ids, inputs_embeds, pictures, None)
        # one for both: what was loaded with this model
        self.language_model.generation_config = self.generation_config
        if 0 <= self.config.image_token_id < self.config.language_config.vocab_size:
            kwargs = suppressing(
                self.config.image_token_id, self.device, kwargs, self.generation_config
            )
        if input_ids is None:
            kwargs |= {"inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
            return self.language_model.generate(**kwargs)
        if attention_mask is None:
            attention_mask = mask_of_padding(input_ids, self.special_ids(**kwargs))
        if settings is None:
            settings = "answering" if regions is None else "trained"
        spliced = self.spliced(
            input_ids,
            attention_mask,
            pictures,
            side="left",
            regions=regions,
            settings=settings,
        )
        check_length(spliced, self._longest, new=1)
        return generate_behind(spliced, self.language_model, input_ids, **kwargs)

    def special_ids(self, **options: Any) -> SpecialIds:
        """The ids of padding, begin and end, as `generate` takes them.

        Args:
            **options: options of `generate`, which come before what is saved with the model.
        """
        configs = (options.get("generation_config"), self.generation_config)
        return SpecialIds.of(options, configs, self.config.language_config)


def _check_one_kind(ids: Any, embeds: Any, pictures: Any, segments: Any) -> None:
    """Refuse calls with ids and rows at once, with neither, or with more beside rows."""
    if (ids is None) == (embeds is None):
        raise ValueError("give input_ids (and pictures), or inputs_embeds")
    if embeds is not None and (pictures is not None or segments is not None):
        raise ValueError(
            "inputs_embeds are rows that are spliced already: pictures and segments go with "
            "input_ids"
        )
