"""RegionVLM: frozen encoder -> regions -> connector -> any causal language model of transformers.

It is one PreTrainedModel.

After: diagnostic study, section 3.2 and appendix E.2 (rows D8 to D13); OG-LLaVA, section 2.2 (row
O3).
Differs: a picture's regions and tokens come from `RegionTokenizer`'s own parts, the same in
training and inference; one placeholder a picture stays in the text until `splice`. A frozen encoder
is named in the config with a hash of its weights, never copied into the checkpoint; a tuned one
(`tune_encoder`) is part of it. A sequence longer than the language model knows is an error, never
cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationMixin,
    PreTrainedModel,
)

from regiontok.core.sizes import parameters_text
from regiontok.model.answering import Answering
from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import check_delimiter
from regiontok.model.positions import check_rotary
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.visual import build_head, build_tunable_encoder
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.regionizer import build_encoder

if TYPE_CHECKING:
    from regiontok.released.vlm import ReleasedVLM


class RegionVLM(Answering, GenerationMixin):  # type: ignore[misc]  # pictures beside the ids
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
        self._frozen, self._frozen_on = {}, torch.device("cpu")
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
        answering: TokenizerSettings | None = None,
    ) -> RegionVLM:
        """A new model around a language model that is already loaded.

        Only the head starts fresh, seeded by `visual.seed`.

        Args:
            language_model: the language model; its weights are taken, not copied.
            visual: settings of the region tokenizer.
            image_token_id, connector, tune_encoder, positions, delimiter_token_id: see
                `RegionVLMConfig`.
            answering: settings with which the model answers; None are those of training.

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
            answering=answering.model_dump() if answering else None,
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

    @staticmethod
    def from_vlm(model: Any, processor: Any = None, **settings: Any) -> ReleasedVLM:
        """Region tokens inside a released model (LLaVA, InternVL, Qwen-VL ...), without training.

        What comes back is the model as it is, and around it what makes its visual tokens. See
        `regiontok.released.loading.from_vlm` for the settings.
        """
        from regiontok.released.loading import from_vlm

        return from_vlm(model, processor, **settings)

    def __repr__(self) -> str:
        settings = self.config.settings
        language_model = type(self.language_model).__name__
        return (
            f"RegionVLM({settings.encoder}, regions={settings.regions!r}, pool={settings.pool}, "
            f"{language_model}, {parameters_text(self)})"
        )

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
