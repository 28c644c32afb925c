"""ReleasedVLM: region tokens inside a released model, between its own tower and language model.

Its own projector takes them to the language model's width. Nothing is trained.

After: nothing: the study trains all of its models, and its rows D14 (prompts) and D17 (numbers of
tokens) are what is held against. Regions inside a released model without training are ours.
Differs: the tokens enter by `mm_encoder_outputs` of transformers instead of a patched model file.
Newline tokens, which end the rows of a grid, are kept where the pipeline is empty and dropped where
there are regions: a region lies in no row.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from regiontok.core.picture import Picture
from regiontok.core.sizes import parameters_text
from regiontok.methods import Pool, RegionStep, Segmenter, Transform
from regiontok.released.family import Cut, ImageTokens, family_of
from regiontok.released.messages import Request, rendered
from regiontok.released.pooling import PoolStage, models_own_tokens, region_tokens
from regiontok.released.prepared import PreparedPrompts
from regiontok.released.prompts import PromptImages, check_no_video, expanding_processor
from regiontok.released.ready_tokens import check_takes_ready_tokens
from regiontok.settings import registry
from regiontok.system.choices import check_choice
from regiontok.tokenizer.pipeline import RegionPipeline, label_of

Side = Literal["left", "right"]
# tokens of pictures that were encoded together, by `PromptImages.key`
TokenCache = MutableMapping[tuple[Any, ...], list[ImageTokens]]


class ReleasedVLM(nn.Module):
    """A released model that reads region tokens; `from_vlm` makes one.

    Attributes:
        model, processor: model and processor of transformers, untouched.
        family: what is known of models of its type.
        pipeline: segmenter, transforms and steps; the grids come from the model's own tower.
        pool: how the patches of a region become its tokens.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        regions: Sequence[RegionStep] | str = "",
        segmenter: Segmenter | str | None = None,
        transforms: Sequence[Transform] | str = "",
        pool: Pool | str = "mean",
        pool_stage: PoolStage = "before",
        cut: Cut = "stitched",
        padding: str = "drop",
    ) -> None:
        super().__init__()
        check_choice("pool_stage", pool_stage, get_args(PoolStage))
        check_choice("cut", cut, get_args(Cut))
        check_takes_ready_tokens(model)
        self.family = family_of(model, processor)
        self.model, self.processor = model, processor
        self.pool_stage, self.cut = pool_stage, cut
        self.pipeline = RegionPipeline(
            segmenter=segmenter, transforms=transforms, steps=regions, padding=padding
        )
        self.pool = registry.resolve("pool", pool)
        _check_learns_nothing(self.pool)

    def __repr__(self) -> str:
        return (
            f"ReleasedVLM({self.model.config.model_type}, regions={self.pipeline.spec!r}, "
            f"pool={label_of(self.pool)}, pool_stage={self.pool_stage!r}, cut={self.cut!r}, "
            f"{parameters_text(self.model)})"
        )

    def prepare(
        self,
        images: Any,
        prompts: str | Sequence[str],
        *,
        side: Side = "left",
        cache: TokenCache | None = None,
    ) -> PreparedPrompts:
        """Images and prompts -> what the language model gets.

        Args:
            images: one or many, of any kind that `Picture.of` takes, in the order of their
                placeholders; or a list a prompt (empty for text alone); None for text alone.
            prompts: texts with one placeholder (`processor.image_token`) an image.
            side: where the padding goes: "left" for generation.
            cache: tokens of earlier calls, say an empty dict at first. Pictures that are in it are
                not encoded again, those that are not are added. It belongs to one model with its
                settings.

        Raises:
            ValueError: If there are more or fewer placeholders than images, both counts are said;
                or a prompt has a place for a video.
            PictureError: If an image cannot be decoded.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        check_no_video(self.processor, texts)
        prompt_images = PromptImages.of(images, texts, self.processor.image_token)
        cache = {} if cache is None else cache

        def tokens_of(image_inputs: Mapping[str, Any]) -> list[ImageTokens]:
            if prompt_images.key not in cache:
                cache[prompt_images.key] = self.image_tokens(image_inputs, prompt_images.pictures)
            return cache[prompt_images.key]

        processor = expanding_processor(self.processor, tokens_of, self.family.image_token)
        arranged = None
        if prompt_images.pictures:
            pillow_images = [picture.pil for picture in prompt_images.pictures]
            arranged = self.family.arrange_images(
                pillow_images, prompt_images.counts, prompt_images.by_prompt
            )
        options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
        begin = self.processor.tokenizer.bos_token
        if begin and all(text.startswith(begin) for text in texts):
            options["add_special_tokens"] = False  # the template wrote it already
        outputs = processor(images=arranged, text=texts, **options)
        return self._prepared(outputs, cache[prompt_images.key] if prompt_images.pictures else [])

    def _prepared(
        self, outputs: Mapping[str, Any], tokens: Sequence[ImageTokens]
    ) -> PreparedPrompts:
        device = self.model.device
        inputs = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in outputs.items()
            if name not in self.family.tower_inputs
        }
        ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
        position_ids = self.family.position_ids(ids, mask, tokens)
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        return PreparedPrompts(ids, mask, tuple(tokens), inputs)

    @torch.no_grad()
    def image_tokens(
        self, inputs: Mapping[str, Any], pictures: Sequence[Picture]
    ) -> list[ImageTokens]:
        """Tokens of each image, by the model's own tower, the regions and its own projector.

        Args:
            inputs: the tensors that the processor's image part made of these pictures.
            pictures: the pictures, decoded: segmenters see them, and steps that draw use their
                keys.
        """
        tower_inputs = {
            name: self._on_device(inputs[name])
            for name in self.family.tower_inputs
            if name in inputs
        }
        sizes = [picture.size for picture in pictures]
        images = self.family.encode(tower_inputs, sizes, self.cut)
        if len(images) != len(pictures):
            raise ValueError(
                f"the processor's tensors hold {len(images)} images, but {len(pictures)} pictures "
                "were given"
            )
        if not self.pipeline.steps:
            return [models_own_tokens(image) for image in images]
        views = [
            view.grid.but(view=number, key=f"{picture.key}/{number}" if number else picture.key)
            for image, picture in zip(images, pictures, strict=True)
            for number, view in enumerate(image.views)
        ]
        masks = self.pipeline.masks(pictures)
        grids = self.pipeline.transformed(views, masks)
        last_regions = iter([trail[-1] for trail in self.pipeline.trails(grids)])
        return [
            region_tokens(
                image,
                [next(last_regions) for _ in image.views],
                family=self.family,
                pool=self.pool,
                stage=self.pool_stage,
                masks=image_masks,
            )
            for image, image_masks in zip(images, masks, strict=True)
        ]

    def _on_device(self, value: Any) -> Any:
        """A tensor on the model's device, floating point ones in its type; anything else as is."""
        if not isinstance(value, Tensor):
            return value
        dtype = self.model.dtype if value.is_floating_point() else value.dtype
        return value.to(self.model.device, dtype)

    def forward(
        self,
        prepared: PreparedPrompts | None = None,
        *,
        images: Any = None,
        prompts: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """The released model's output over the expanded rows.

        It takes either what `prepare` made, or images and prompts. Options go to the model's own
        `forward`.
        """
        return self.model(**{**self._ready(prepared, images, prompts).inputs(), **options})

    @torch.no_grad()
    def generate(
        self,
        prepared: PreparedPrompts | None = None,
        *,
        images: Any = None,
        prompts: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """What transformers' `generate` gives: ids `[b s + new]`, the expanded prompts in front.

        Options go to transformers' `generate`. Without a cache every step reads all ids again, and
        a generated placeholder would want a visual token: it is suppressed. With `past_key_values`
        of an earlier turn, `prepared` is the whole conversation; what the cache holds is not read
        again.

        Raises:
            ValueError: If there is padding on the right, the cache is not of a beginning of these
                prompts, or a prompt ends with an image in a family with positions of its own.
        """
        ready = self._ready(prepared, images, prompts)
        ready.check_last_column(self.image_token_id)
        if (past := options.get("past_key_values")) is not None:
            ready = ready.without_cached(past.get_seq_length(), self.image_token_id)
        if options.get("use_cache") is False:
            options.setdefault("suppress_tokens", [self.image_token_id])
        return self.model.generate(**{**ready.inputs(), **options})

    def answer(
        self,
        images: Any = None,
        prompts: str | Sequence[str] | None = None,
        *,
        messages: Sequence[Any] | None = None,
        **options: Any,
    ) -> list[str]:
        """The new text of each prompt or conversation, special tokens left out.

        `answer(messages)` is asked by the model's own chat template.

        Args:
            images: see `prepare`. Beside messages, the pictures of image parts that name none.
            prompts: see `prepare`.
            messages: a conversation in place of prompts, or several: messages of `role` and
                `content`, pictures inside as `{"type": "image", "image": ...}` (a Pillow image, a
                path, an address), or under `path`, `url`, `base64`, `image_url`.
            **options: options of `generate`.

        Raises:
            ValueError: If there are both prompts and messages or neither, more or fewer pictures
                than places for them, or the processor has no chat template.
            PictureError: If an image cannot be decoded.
        """
        request = Request.of(images, prompts, messages)
        if request.messages is None:
            prepared = self.prepare(request.images, request.prompts or [])
        else:
            prepared = self.prepare(*rendered(self.processor, request.messages, request.images))
        new_ids = self.generate(prepared, **options)[:, prepared.input_ids.shape[1] :]
        texts: list[str] = self.processor.batch_decode(new_ids, skip_special_tokens=True)
        return texts

    @property
    def image_token_id(self) -> int:
        """The id that stands for one visual token in an expanded prompt."""
        return int(self.model.config.image_token_id)

    def _ready(
        self, prepared: PreparedPrompts | None, images: Any, prompts: str | Sequence[str] | None
    ) -> PreparedPrompts:
        if (prepared is None) == (prompts is None):
            raise ValueError("give either what prepare() made, or images=... and prompts=...")
        if prepared is None:
            assert prompts is not None
            prepared = self.prepare(images, prompts)
        if prepared.has_positions:
            self.family.remember_positions(
                prepared.input_ids, prepared.attention_mask, prepared.tokens
            )
        return prepared


def _check_learns_nothing(pool: Pool) -> None:
    """Refuse a pool with weights, which would stay as they were initialised."""
    with torch.device("meta"):  # of a width that any number of heads divides, at no cost
        learns = next(pool.build(5040).parameters(), None) is not None
    if learns:
        raise ValueError(
            f"pool {label_of(pool)!r} has weights to learn, and nothing is trained here: take "
            "'mean' or 'select'"
        )
