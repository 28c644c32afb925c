"""RegionVLMConfig: what a RegionVLM is made of, as a config of transformers.

It holds the region tokenizer's settings, the connector and the language model's config.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from regiontok.settings.checks import check_same_weights
from regiontok.settings.recipe import TokenizerSettings


class RegionVLMConfig(PretrainedConfig):
    """Settings of a `RegionVLM`.

    Args:
        text_config: config of any causal language model of transformers.
        visual: the fields of `TokenizerSettings`: encoder, segmenter, transforms, regions, norm,
            pool, whole, cls, padding, seed.
        visual_width: the encoder's width; it is kept, so that a checkpoint loads without asking the
            encoder.
        visual_identity: identity of the encoder's weights that the head was trained on; another
            encoder is refused.
        connector: spec of the connector.
        image_token_id: the placeholder of one picture; it may lie outside the vocabulary.
        tune_encoder: True lets the encoder learn too: its weights belong to the model and lie in
            the checkpoint.
        positions: "plain", or "segment": the rows of a mask share the position of its first one,
            see `regiontok.model.positions`.
        delimiter_token_id: the token of the vocabulary that delimits masks, if `place_tokens` names
            one; else -1.
        answering: the fields of `TokenizerSettings` with which the model answers (rows O5, D10 E to
            G); None answers as it was trained.

    Raises:
        ValueError: If `positions` is unknown, or `answering` needs other weights than `visual`.
    """

    model_type = "regiontok_vlm"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 - transformers' own form

    def __init__(
        self,
        text_config: Any = None,
        visual: dict[str, Any] | None = None,
        visual_width: int = 0,
        visual_identity: str = "",
        connector: str = "mlp",
        image_token_id: int = -1,
        tune_encoder: bool = False,
        positions: str = "plain",
        delimiter_token_id: int = -1,
        answering: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(text_config, dict):
            model_type = text_config.get("model_type", "llama")
            text_config = AutoConfig.for_model(**{**text_config, "model_type": model_type})
        self.text_config = text_config if text_config is not None else AutoConfig.for_model("llama")
        for name, value in (
            ("visual_width", visual_width),
            ("image_token_id", image_token_id),
            ("delimiter_token_id", delimiter_token_id),
        ):
            if not isinstance(value, int):
                raise ValueError(f"{name} must be a whole number, not {value!r}")
        self.visual = _settings(visual or {}).model_dump()
        self.visual_width, self.visual_identity = visual_width, visual_identity
        self.connector, self.image_token_id = connector, image_token_id
        self.tune_encoder = tune_encoder
        if positions not in ("plain", "segment"):
            raise ValueError(f"positions must be 'plain' or 'segment', not {positions!r}")
        self.positions, self.delimiter_token_id = positions, delimiter_token_id
        self.answering = answering
        if answering is not None:
            self.answering = _settings(answering).model_dump()
            check_same_weights(self.settings, self.answering_settings)
        tied = bool(getattr(self.text_config, "tie_word_embeddings", False))
        super().__init__(**{"tie_word_embeddings": tied, **kwargs})

    @property
    def settings(self) -> TokenizerSettings:
        """The region tokenizer's settings, checked."""
        return _settings(self.visual)

    @property
    def answering_settings(self) -> TokenizerSettings:
        """The settings with which the model answers; those of training where nothing is said."""
        return self.settings if self.answering is None else _settings(self.answering)

    @property
    def language_config(self) -> Any:
        """The config of the text part, also where the language model is one of several parts."""
        return self.text_config.get_text_config()


def _settings(values: dict[str, Any]) -> TokenizerSettings:
    return TokenizerSettings.model_validate(values)
