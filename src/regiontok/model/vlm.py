"""RegionVLM: frozen encoder -> regions -> connector -> any causal language model of transformers,
as one PreTrainedModel.

After: diagnostic study, sections 3.2 and 4 (rows D8 to D13); OG-LLaVA, section 5.1 (row O3).
Differs: a picture's regions and tokens come from `RegionTokenizer`'s own parts, the same in
training and inference; one placeholder a picture stays in the text until `splice`. A frozen encoder
is named in the config with a hash of its weights, never copied into the checkpoint; a tuned one
(`tune_encoder`) is part of it. A sequence longer than the language model knows is an error, never
cut.
"""

from __future__ import annotations

import copy
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
    LogitsProcessorList,
    PreTrainedModel,
    SuppressTokensLogitsProcessor,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.model.checked import check_kind, check_report
from regiontok.model.config import RegionVLMConfig
from regiontok.model.delimiters import check_delimiter, with_embeddings
from regiontok.model.packed import packed_mask
from regiontok.model.positions import (
    check_first,
    check_rotary,
    read_by,
    segment_positions,
    table_of,
)
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.splice import Spliced, check_length, splice
from regiontok.settings import registry, spec
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.head import VisualHead
from regiontok.tokenizer.regionizer import Regionizer, build_encoder

if TYPE_CHECKING:
    from jaxtyping import Int


class RegionVLM(PreTrainedModel, GenerationMixin):
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
            config.settings,
            config.delimiter_token_id,
            config.text_config.get_text_config().vocab_size,
        )
        self.head = _head(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        if config.positions == "segment":
            check_rotary(self.language_model)
        if config.tune_encoder:
            self.vision = _tunable(config.settings.encoder).blank()
        self._frozen: tuple[torch.device, Regionizer] | None = None
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
        """A new model around a language model that is already loaded; only the head starts fresh
        (seeded by `visual.seed`).

        Raises:
            ValueError: `cls` of an encoder that has no such token; `tune_encoder` of one that
                cannot learn; `positions="segment"` of a language model without rotary positions; a
                delimiter of the vocabulary without its id.
        """
        encoder = _tunable(visual.encoder) if tune_encoder else build_encoder(visual.encoder)
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
            model.head = _head(config).to(language_model.device, language_model.dtype)
        model.language_model = language_model
        if tune_encoder:
            model.vision = encoder.tunable(language_model.dtype).to(language_model.device)
        model.generation_config = language_model.generation_config
        return model

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any
    ) -> Any:  # type: ignore[override]
        """As transformers has it, but no weight is ever left random.

        Raises:
            ValueError: a checkpoint of another kind of model; one whose weights are not those its
                settings ask for.
        """
        name = str(pretrained_model_name_or_path)
        check_kind(name, cls.config_class.model_type)
        told = kwargs.pop("output_loading_info", False)
        kwargs.setdefault("ignore_mismatched_sizes", True)  # raised below by name, not by a table
        found: Any = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        model, report = found
        check_report(report, name)
        return (model, report) if told else model

    @staticmethod
    def from_vlm(model: Any, processor: Any = None, **settings: Any) -> Any:
        """Region tokens inside a released model (LLaVA, InternVL, Qwen-VL ...), without training:
        see `regiontok.released.vlm.from_vlm`.

        What comes back is a `ReleasedVLM`: the model as it is, around it what makes its visual
        tokens.
        """
        from regiontok.released.vlm import from_vlm

        return from_vlm(model, processor, **settings)

    @property
    def regionizer(self) -> Regionizer:
        """Built at its first use, on the model's device.

        Raises:
            ValueError: the encoder's weights are others than the model was made with.
        """
        if self._frozen is None or self._frozen[0] != self.device:
            self._frozen = self.device, self._regionizer()
        made = self._frozen[1]
        if self.config.tune_encoder:  # each time: peft may have wrapped the module
            made = copy.copy(made)
            made.encoder = made.encoder.tuned(self.vision)
        return made

    def _regionizer(self) -> Regionizer:
        own = self.config.settings
        encoder = build_encoder(own.encoder)
        if self.config.visual_identity not in ("", encoder.identity):
            raise ValueError(
                f"this model was made with other weights of {own.encoder} ({self.config.visual_identity}) than are here "
                f"({encoder.identity})"
            )
        return Regionizer.of(own, device=str(self.device), encoder=encoder)

    def see(
        self,
        pictures: Sequence[Picture | PatchGrid],
        *,
        draw: int = 0,
        regions: str | Sequence[str | None] | None = None,
    ) -> Tokens:
        """Visual tokens of the language model's width; a `PatchGrid` is taken as the encoder's
        answer.

        With tiles, cached views of a picture follow one another, the base view first.

        Args:
            pictures: or cached features.
            draw: see `forward`.
            regions: steps in place of the model's own, for all pictures or one a picture (None: the
                model's own). "" is the model without masks (row O5): every patch, through the same
                weights, and no segmenter is asked. With pool `select` and the whole image in front
                (row O6) that block is every patch already, and nothing follows it.

        Raises:
            ValueError: a `PatchGrid`, where the encoder is tuned: it holds what the weights were.
                Another number of `regions` than of pictures.
        """
        raw = [picture for picture in pictures if not isinstance(picture, PatchGrid)]
        if self.config.tune_encoder and len(raw) < len(pictures):
            raise ValueError(
                "cached features do not follow an encoder that is tuned: pass pictures, or set tune_encoder=False"
            )
        images = sum(
            not isinstance(picture, PatchGrid) or picture.view == 0 for picture in pictures
        )
        asked = [regions] * images if regions is None or isinstance(regions, str) else list(regions)
        if len(asked) != images:
            raise ValueError(f"expected regions for each of {images} pictures, got {len(asked)}")
        own = self.regionizer
        by_text = {text: own if text is None else own.but(text) for text in dict.fromkeys(asked)}
        with torch.set_grad_enabled(self.config.tune_encoder and torch.is_grad_enabled()):
            masks = any(regionizer.reads_masks for regionizer in by_text.values())
            fresh = iter(_by_image(own.see(raw, masks=masks, draw=draw)) if raw else [])
            views = [
                [picture] if isinstance(picture, PatchGrid) else next(fresh) for picture in pictures
            ]
            grids = [
                _on(grid, self.device, self.head_dtype) for own_views in views for grid in own_views
            ]
        with torch.no_grad():
            read = [grid.but(features=grid.features.detach()) for grid in grids]
            if self.config.settings.partition_on == "normed":
                read = [
                    grid.but(features=self.head.norm(grid.features), values=grid.pooled)
                    for grid in grids
                ]
            owners = images_of(grids)
            cut = self._cut(read, [asked[owner] for owner in owners], by_text)
        tokens = self.head(grids, Members.of(cut, owners))
        if self.config.delimiter_token_id >= 0:
            tokens = with_embeddings(
                tokens, self.config.delimiter_token_id, self.get_input_embeddings()
            )
        return tokens

    def _cut(
        self,
        grids: Sequence[PatchGrid],
        asked: Sequence[str | None],
        by_text: dict[str | None, Regionizer],
    ) -> list[Regions]:
        """The regions of each view, by the steps that are asked for."""
        found: dict[int, Regions] = {}
        blocks = (
            self.config.settings.whole
            and registry.build("pool", self.config.settings.pool).keeps_patches
        )
        for text, regionizer in by_text.items():
            places = [place for place, own in enumerate(asked) if own == text]
            trails = regionizer.trails([grids[place] for place in places])
            bare = text is not None and blocks and not regionizer.steps
            for place, trail in zip(
                places, trails, strict=True
            ):  # the block in front shows the base view alone
                found[place] = trail[-1].take([]) if bare and grids[place].view == 0 else trail[-1]
        return [found[place] for place in range(len(grids))]

    @property
    def head_dtype(self) -> torch.dtype:
        """Of the connector's weights."""
        return next(self.head.connector.parameters()).dtype

    def spliced(
        self,
        input_ids: Int[Tensor, "b l"],
        attention_mask: Tensor | None = None,
        pictures: Sequence[Picture | PatchGrid] | Tokens | None = None,
        *,
        draw: int = 0,
        regions: str | Sequence[str | None] | None = None,
        **options: Any,
    ) -> Spliced:
        """The sequence that the language model gets: see `splice`; `draw` is the epoch, by which
        seeded steps draw anew, `regions` other steps than the model's own: see `see`."""
        tokens = self._tokens(pictures, draw=draw, regions=regions)
        embed = self.get_input_embeddings()
        made = splice(
            input_ids,
            attention_mask,
            tokens,
            placeholder=self.config.image_token_id,
            embed=embed,
            **options,
        )
        if self.config.positions == "plain":
            return made
        shared = segment_positions(made, tokens)
        check_first(shared, made, self.language_model.config._attn_implementation)
        return replace(made, shared=shared)

    def _tokens(
        self, pictures: Sequence[Picture | PatchGrid] | Tokens | None, **words: Any
    ) -> Tokens | None:
        if isinstance(pictures, Tokens):
            return pictures
        return self.see(pictures, **words) if pictures else None

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Int[Tensor, "b l"] | None = None,
        pictures: Sequence[Picture | PatchGrid] | Tokens | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        segments: Int[Tensor, "b l"] | None = None,
        inputs_embeds: Tensor | None = None,
        draw: int = 0,
        regions: str | Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits `[b s c]` over the spliced rows (longer than the ids), and the loss if there are
        labels.

        Args:
            input_ids: one placeholder a picture.
            attention_mask: 1 = a token.
            pictures: of the whole batch, in the order of their placeholders; or their tokens.
            labels: -100 where nothing is supervised.
            segments: the sample of each token, in packed rows.
            inputs_embeds: rows that are already spliced; then nothing else of a picture is taken.
            draw: the epoch: seeded steps draw anew (features from a cache hold their own).
            regions: other steps than the model's own, "" for every patch without masks: see `see`.
            **kwargs: for the language model.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids (and pictures), or inputs_embeds")
            words: dict[str, Any] = {
                "labels": labels,
                "segments": segments,
                "draw": draw,
                "regions": regions,
            }
            made = self.spliced(input_ids, attention_mask, pictures, **words)
            check_length(made, self._longest)
            inputs_embeds, labels, attention_mask = made.embeds, made.labels, made.mask
            if self.training and not made.visual.ge(0).any():
                inputs_embeds = inputs_embeds + self._idle()
            kwargs.setdefault(
                "position_ids", made.positions if made.shared is None else made.shared
            )
            if segments is not None:
                attention_mask = packed_mask(made, self.language_model.config)
                kwargs["use_cache"] = False  # nothing is decoded from packed rows
        return self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs
        )

    @property
    def _longest(self) -> int | None:
        """Positions that the language model has, if it says so."""
        return getattr(self.config.text_config.get_text_config(), "max_position_embeddings", None)

    def _idle(self) -> Tensor:
        """Zero, through the head (and a tuned encoder): a batch of text alone must not leave ranks
        of DDP waiting for gradients."""
        if self.config.tune_encoder:
            grids = self.regionizer.encoder.encode(
                [Picture.of(torch.zeros(1, 1, 3, dtype=torch.uint8))]
            )
            grids = [_on(grid, self.device, self.head_dtype) for grid in grids]
        else:
            nothing = torch.zeros(
                1, 1, self.config.visual_width, device=self.device, dtype=self.head_dtype
            )
            grids = [
                PatchGrid(
                    nothing, Frame.stretch((1, 1), (1, 1), (1, 1)), prefix=nothing[0], summaries=1
                )
            ]
        members = Members.of([Regions.singletons(grid.grid, grid.valid) for grid in grids])
        return (self.head(grids, members).values * 0).sum()

    @torch.no_grad()
    def generate(  # type: ignore[override]  # pictures stand beside the ids
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pictures: Any = None,
        *,
        regions: str | Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answers `[b l + new]`: the prompts as they came (placeholders and all), then what was
        generated. See transformers' `generate`.

        The placeholder of a picture is never generated. `regions=""` answers without masks: see
        `see`.
        """
        made = self.spliced(input_ids, attention_mask, pictures, side="left", regions=regions)
        check_length(made, self._longest, new=1)
        self.language_model.generation_config = (
            self.generation_config
        )  # one for both: what was loaded with this model
        if 0 <= self.config.image_token_id < self.config.text_config.get_text_config().vocab_size:
            never = SuppressTokensLogitsProcessor(
                [self.config.image_token_id], device=str(self.device)
            )
            kwargs["logits_processor"] = LogitsProcessorList(
                [*(kwargs.get("logits_processor") or ()), never]
            )
        kwargs |= {"inputs_embeds": made.embeds, "attention_mask": made.mask.long()}
        if made.shared is None:
            new = self.language_model.generate(**kwargs)
        else:
            with read_by(table_of(made, made.shared), self.language_model):
                new = self.language_model.generate(**kwargs, position_ids=made.positions)
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
    return grid.but(
        features=grid.features.to(device), values=grid.pooled.to(device, dtype), prefix=prefix
    )


def _by_image(grids: Sequence[PatchGrid]) -> list[list[PatchGrid]]:
    """The views of each picture."""
    starts = [place for place, grid in enumerate(grids) if grid.view == 0]
    return [
        list(grids[start:stop])
        for start, stop in zip(starts, [*starts[1:], len(grids)], strict=True)
    ]


def _head(config: RegionVLMConfig) -> VisualHead:
    own = config.settings
    return VisualHead(
        config.visual_width,
        norm=own.norm,
        pool=registry.build("pool", own.pool),
        whole=own.whole,
        cls=own.cls,
        place_features=registry.build_pipeline("place", own.place_features),
        place_tokens=registry.build_pipeline("place", own.place_tokens),
        connector=registry.build("connector", config.connector),
        newline=bool(own.tiles) and own.cut == "stitched" and not spec.parse(own.regions),
        out=config.text_config.get_text_config().hidden_size,
    )


def _tunable(text: str) -> Any:
    """The encoder, if it can learn."""
    encoder = build_encoder(text)
    if not encoder.can_tune:
        raise ValueError(
            f"the encoder {text} cannot be tuned: tune_encoder=True takes one of transformers('...')"
        )
    return encoder


# whoever imports RegionVLM has the Auto classes and pipelines
AutoConfig.register(RegionVLMConfig.model_type, RegionVLMConfig, exist_ok=True)
AutoModelForImageTextToText.register(RegionVLMConfig, RegionVLM, exist_ok=True)
AutoProcessor.register(RegionVLMConfig, RegionVLMProcessor, exist_ok=True)
