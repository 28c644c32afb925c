"""RegionVLM: frozen encoder -> regions -> connector -> any causal language model of transformers.

It is one PreTrainedModel.

After: diagnostic study, sections 3.2 and 4 (rows D8 to D13); OG-LLaVA, section 5.1 (row O3).
Differs: a picture's regions and tokens come from `RegionTokenizer`'s own parts, the same in
training and inference; one placeholder a picture stays in the text until `splice`. A frozen encoder
is named in the config with a hash of its weights, never copied into the checkpoint; a tuned one
(`tune_encoder`) is part of it. A sequence longer than the language model knows is an error, never
cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from regiontok.core.tokens import Tokens
from regiontok.model.checkpoints import check_loading_report, check_saved_model
from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import check_delimiter
from regiontok.model.generation import generate_behind, suppressing
from regiontok.model.limits import limit_tokens
from regiontok.model.packed import packed_mask
from regiontok.model.picture_reader import PictureReader
from regiontok.model.positions import check_first, check_rotary, segment_positions
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.splice import Side, Spliced, check_length, splice
from regiontok.model.visual import OtherSteps, VisualInput, build_head, build_tunable_encoder
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.loading import clear_model_errors
from regiontok.tokenizer.regionizer import build_encoder

if TYPE_CHECKING:
    from jaxtyping import Int

    from regiontok.released.vlm import ReleasedVLM


class RegionVLM(PictureReader, GenerationMixin):
    """A language model that reads pictures as region tokens.

    Attributes:
        head: norm, pool and connector: what turns regions into tokens of the language model's
            width.
        language_model: any causal language model.
        vision: the encoder's weights if they are tuned; there is none with a frozen encoder.
        regionizer: encoder, segmenter, transforms, steps. Nothing of it is in the checkpoint, but a
            tuned encoder's weights.
    """

    config_class = RegionVLMConfig
    config: RegionVLMConfig
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]  # noqa: RUF012 - transformers' own form
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: RegionVLMConfig) -> None:
        super().__init__(config)
        check_delimiter(
            config.settings, config.delimiter_token_id, config.language_config.vocab_size
        )
        language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.head = build_head(config, language_model)
        self.language_model = language_model
        if config.positions == "segment":
            check_rotary(self.language_model)
        if config.tune_encoder:
            self.vision = build_tunable_encoder(config.settings.encoder).blank()
        self._frozen = None
        self.post_init()

    @classmethod
    def from_parts(
        cls,
        language_model: PreTrainedModel,
        visual: TokenizerSettings,
        *,
        image_token_id: int,
        connector: str = "mlp",
        tune_encoder: bool = False,
        positions: str = "plain",
        delimiter_token_id: int = -1,
    ) -> RegionVLM:
        """A new model around a language model that is already loaded.

        Only the head starts fresh, seeded by `visual.seed`.

        Args:
            language_model: the language model; its weights are taken, not copied.
            visual: settings of the region tokenizer.
            image_token_id, connector, tune_encoder, positions, delimiter_token_id: see
                `RegionVLMConfig`.

        Raises:
            ValueError: If `cls` is asked of an encoder that has no such token, `tune_encoder` of
                one that cannot learn, or `positions="segment"` of a language model without rotary
                positions; if a delimiter of the vocabulary has no id.
        """
        build = build_tunable_encoder if tune_encoder else build_encoder
        encoder = build(visual.encoder)
        if visual.cls and not encoder.has_cls:
            raise ValueError(f"{visual.encoder} has no CLS or summary token; set cls=False")
        config = RegionVLMConfig(
            text_config=language_model.config,
            visual=visual.model_dump(),
            visual_width=encoder.width,
            visual_identity=encoder.identity,
            connector=connector,
            image_token_id=image_token_id,
            tune_encoder=tune_encoder,
            positions=positions,
            delimiter_token_id=delimiter_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            with torch.device("meta"):
                model = cls(config)
            torch.manual_seed(visual.seed)
            head = build_head(config, language_model)
            model.head = head.to(language_model.device, language_model.dtype)
        model.language_model = language_model
        if tune_encoder:
            model.vision = encoder.tunable(language_model.dtype).to(language_model.device)
        model.generation_config = language_model.generation_config
        return model

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As transformers has it, but no weight is ever left random.

        Raises:
            ValueError: If the checkpoint is of another type of model, or its weights are not those
                that its settings ask for.
        """
        name = str(pretrained_model_name_or_path)
        check_saved_model(name, cls.config_class.model_type)
        with_report = kwargs.pop("output_loading_info", False)
        kwargs.setdefault("ignore_mismatched_sizes", True)  # raised below by name, not by a table
        with clear_model_errors(name):
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        model, report = loaded
        check_loading_report(report, name)
        return (model, report) if with_report else model

    @staticmethod
    def from_vlm(model: Any, processor: Any = None, **settings: Any) -> ReleasedVLM:
        """Region tokens inside a released model (LLaVA, InternVL, Qwen-VL ...), without training.

        What comes back is the model as it is, and around it what makes its visual tokens. See
        `regiontok.released.loading.from_vlm` for the settings.
        """
        from regiontok.released.loading import from_vlm

        return from_vlm(model, processor, **settings)

    def spliced(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        *,
        draw: int = 0,
        regions: OtherSteps = None,
        limits: Sequence[int | None] | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        side: Side = "right",
    ) -> Spliced:
        """The sequence that the language model gets.

        Args:
            input_ids, attention_mask, labels, segments, side: see `splice`.
            pictures, draw, regions, limits: see `forward`.
        """
        if isinstance(pictures, Tokens):
            tokens: Tokens | None = pictures
        else:
            tokens = self.see(pictures, draw=draw, regions=regions) if pictures else None
        if tokens is not None and limits is not None:
            tokens = limit_tokens(tokens, limits)
        spliced = splice(
            input_ids,
            attention_mask,
            tokens,
            placeholder=self.config.image_token_id,
            embed=self.get_input_embeddings(),
            labels=labels,
            segments=segments,
            side=side,
        )
        if self.config.positions == "plain":
            return spliced
        spliced = replace(spliced, shared_positions=segment_positions(spliced, tokens))
        check_first(spliced, self.language_model.config._attn_implementation)
        return spliced

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Int[Tensor, "b l"] | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        inputs_embeds: Tensor | None = None,
        draw: int = 0,
        regions: OtherSteps = None,
        limits: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits `[b s c]` over the spliced rows, and the loss if there are labels.

        The rows are longer than the ids.

        Args:
            input_ids: one placeholder a picture.
            attention_mask: 1 for a token and 0 for padding.
            pictures: the pictures of the whole batch, in the order of their placeholders; or their
                tokens.
            labels: ids to predict, -100 where nothing is supervised.
            segments: the sample of each token, in packed rows.
            inputs_embeds: rows that are already spliced; then nothing else of a picture is taken.
            draw: the epoch: seeded steps draw anew (features from a cache hold their own).
            regions: other steps than the model's own, "" for every patch without masks: see `see`.
            limits: most visual tokens of each picture, None for all of them: of rows that are cut.
            **kwargs: for the language model.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids (and pictures), or inputs_embeds")
            spliced = self.spliced(
                input_ids,
                attention_mask,
                pictures,
                labels=labels,
                segments=segments,
                draw=draw,
                regions=regions,
                limits=limits,
            )
            check_length(spliced, self._longest)
            inputs_embeds, labels, attention_mask = spliced.embeds, spliced.labels, spliced.mask
            if self.training and not spliced.visual.ge(0).any():
                inputs_embeds = inputs_embeds + self.zero_through_head()
            shared = spliced.shared_positions
            kwargs.setdefault("position_ids", spliced.positions if shared is None else shared)
            if segments is not None:
                attention_mask = packed_mask(spliced, self.language_model.config)
                kwargs["use_cache"] = False  # nothing is decoded from packed rows
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs
        )
        return output

    @property
    def _longest(self) -> int | None:
        """Positions that the language model has, if it says so."""
        return getattr(self.config.language_config, "max_position_embeddings", None)

    @torch.no_grad()
    def generate(  # type: ignore[override]  # pictures stand beside the ids
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        pictures: Sequence[VisualInput] | Tokens | None = None,
        *,
        regions: OtherSteps = None,
        **kwargs: Any,
    ) -> Any:
        """Answers `[b l + new]`: the prompts as they came, then what was generated.

        The prompts keep their placeholders, and none is ever generated. See transformers'
        `generate` for further options. `regions=""` answers without masks: see `see`.
        """
        spliced = self.spliced(input_ids, attention_mask, pictures, side="left", regions=regions)
        check_length(spliced, self._longest, new=1)
        # one for both: what was loaded with this model
        self.language_model.generation_config = self.generation_config
        if 0 <= self.config.image_token_id < self.config.language_config.vocab_size:
            kwargs = suppressing(self.config.image_token_id, self.device, kwargs)
        return generate_behind(spliced, self.language_model, input_ids, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's input embeddings."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the language model's input embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's output embeddings."""
        embeddings: nn.Module = self.language_model.get_output_embeddings()
        return embeddings

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Set the language model's output embeddings."""
        self.language_model.set_output_embeddings(value)


# whoever imports RegionVLM has the Auto classes and pipelines
AutoConfig.register(RegionVLMConfig.model_type, RegionVLMConfig, exist_ok=True)
AutoModelForImageTextToText.register(RegionVLMConfig, RegionVLM, exist_ok=True)
AutoProcessor.register(RegionVLMConfig, RegionVLMProcessor, exist_ok=True)
