"""RegionVLM: frozen encoder -> regions -> connector -> any causal language model of transformers, as one PreTrainedModel.

After: diagnostic study, sections 3.2 and 4 (rows D8 to D13); OG-LLaVA, section 5.1 (row O3).
Differs: a picture's regions and tokens come from `RegionTokenizer`'s own parts, the same in training and inference; one placeholder a
picture stays in the text until `splice`. The frozen encoder is named in the config with a hash of its weights, never copied into the
checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from regiontok.core import spec
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.recipe import TokenizerSettings
from regiontok.core.regions import Members
from regiontok.core.tokens import Tokens
from regiontok.model.config import RegionVLMConfig
from regiontok.model.splice import Spliced, splice
from regiontok.tokenizer import Regionizer, VisualHead, build_encoder

if TYPE_CHECKING:
    from jaxtyping import Int


class RegionVLM(PreTrainedModel, GenerationMixin):
    """A language model that reads pictures as region tokens.

    Attributes:
        head: norm, pool and connector: what turns regions into tokens of the language model's width.
        language_model: any causal language model.
        regionizer: frozen: encoder, segmenter, transforms, steps. Nothing of it is in the checkpoint.
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
        own = config.settings
        self.head = VisualHead(
            config.visual_width,
            norm=own.norm,
            pool=spec.build("pool", own.pool),
            whole=own.whole,
            cls=own.cls,
            connector=spec.build("connector", config.connector),
            out=config.text_config.hidden_size,
        )
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @classmethod
    def from_parts(
        cls, language_model: PreTrainedModel, visual: TokenizerSettings, *, image_token_id: int, connector: str = "mlp"
    ) -> RegionVLM:
        """A new model around a language model that is already loaded; only the head starts fresh (seeded by `visual.seed`)."""
        encoder = build_encoder(visual.encoder)
        if visual.cls and not encoder.has_cls:
            raise ValueError(f"{visual.encoder} has no CLS or summary token; set cls=False")
        config = RegionVLMConfig(
            text_config=language_model.config,
            visual=visual.model_dump(),
            visual_width=encoder.width,
            visual_identity=encoder.identity,
            connector=connector,
            image_token_id=image_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(visual.seed)
            with torch.device("meta"):
                model = cls(config)
            model.language_model = language_model
            model.head.to_empty(device=language_model.device)
            model.head.to(language_model.dtype)
            for module in model.head.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        model.generation_config = language_model.generation_config
        return model

    @cached_property
    def regionizer(self) -> Regionizer:
        """Built at its first use.

        Raises:
            ValueError: the encoder's weights are others than the head was trained on.
        """
        own = self.config.settings
        made = Regionizer(
            own.encoder, segmenter=own.segmenter, transforms=own.transforms, steps=own.regions, padding=own.padding
        )
        if self.config.visual_identity not in ("", made.encoder.identity):
            raise ValueError(
                f"this model was trained on other weights of {own.encoder} ({self.config.visual_identity}) than are here "
                f"({made.encoder.identity})"
            )
        return made

    def see(self, pictures: Sequence[Picture | PatchGrid], *, draw: int = 0) -> Tokens:
        """Visual tokens of the language model's width; a `PatchGrid` is taken as the encoder's answer."""
        with torch.no_grad():
            raw = [picture for picture in pictures if not isinstance(picture, PatchGrid)]
            fresh = iter(self.regionizer.see(raw, draw=draw) if raw else [])
            grids = [picture if isinstance(picture, PatchGrid) else next(fresh) for picture in pictures]
            grids = [_on(grid, self.device, self.head_dtype) for grid in grids]
            read = grids
            if self.config.settings.partition_on == "normed":
                read = [grid.but(features=self.head.norm(grid.features), values=grid.pooled) for grid in grids]
            members = Members.of([trail[-1] for trail in self.regionizer.trails(read)])
        return self.head(grids, members)

    @property
    def head_dtype(self) -> torch.dtype:
        """Of the connector's weights."""
        return next(self.head.connector.parameters()).dtype

    def spliced(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        pictures: Sequence[Picture | PatchGrid] | Tokens | None = None,
        **options: Any,
    ) -> Spliced:
        """The sequence that the language model gets: see `splice`."""
        tokens = pictures if isinstance(pictures, Tokens) else self.see(pictures) if pictures else None
        embed = self.get_input_embeddings()
        return splice(input_ids, attention_mask, tokens, placeholder=self.config.image_token_id, embed=embed, **options)

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Int[Tensor, "b l"] | None = None,
        pictures: Sequence[Picture | PatchGrid] | Tokens | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits `[b s c]` over the spliced rows (longer than the ids), and the loss if there are labels.

        Args:
            input_ids: one placeholder a picture.
            attention_mask: 1 = a token.
            pictures: of the whole batch, in the order of their placeholders; or their tokens.
            labels: -100 where nothing is supervised.
            segments: the sample of each token, in packed rows.
            inputs_embeds: rows that are already spliced; then nothing else of a picture is taken.
            **kwargs: for the language model.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids (and pictures), or inputs_embeds")
            made = self.spliced(input_ids, attention_mask, pictures, labels=labels, segments=segments)
            inputs_embeds, labels = made.embeds, made.labels
            if self.training and not made.visual.ge(0).any():
                inputs_embeds = inputs_embeds + self._untouched()
            attention_mask = made.mask if segments is None else made.attention()
            kwargs.setdefault("position_ids", made.positions)
            if segments is not None:
                kwargs["use_cache"] = False
        return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs)

    def _untouched(self) -> Tensor:
        """Zero, through every weight of the head: a batch of text alone must not leave ranks of DDP waiting for its gradient."""
        return sum((parameter.flatten()[0] * 0 for parameter in self.head.parameters()), torch.zeros((), device=self.device))

    @torch.no_grad()
    def generate(  # type: ignore[override]  # pictures stand beside the ids
        self, input_ids: Tensor, attention_mask: Tensor | None = None, pictures: Any = None, **kwargs: Any
    ) -> Any:
        """Answers `[b l + new]`: the prompts as they came (placeholders and all), then what was generated. See transformers' `generate`."""
        made = self.spliced(input_ids, attention_mask, pictures, side="left")
        kwargs.setdefault("generation_config", self.generation_config)
        new = self.language_model.generate(inputs_embeds=made.embeds, attention_mask=made.mask.long(), **kwargs)
        ids = new if isinstance(new, Tensor) else new.sequences
        whole = torch.cat([input_ids.repeat_interleave(len(ids) // len(input_ids), 0), ids], 1)
        if isinstance(new, Tensor):
            return whole
        new.sequences = whole
        return new

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """The language model's."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """The language model's."""
        self.language_model.set_output_embeddings(value)


def _on(grid: PatchGrid, device: torch.device, dtype: torch.dtype) -> PatchGrid:
    """Features as they are (steps read them exactly), what is pooled in the head's type."""
    prefix = None if grid.prefix is None else grid.prefix.to(device, dtype)
    return grid.but(features=grid.features.to(device), values=grid.pooled.to(device, dtype), prefix=prefix)
