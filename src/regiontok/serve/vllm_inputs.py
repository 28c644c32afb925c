"""Pictures of requests inside vLLM's server: their tokens are made here, before the engine.

How many tokens a picture has is known after the encoder ran; then its one placeholder in the prompt
becomes as many. This module is imported by vLLM alone, which then is there.

After: vLLM 0.32, vllm/multimodal/processing/processor.py.
Differs: an unknown `mm_processor_kwargs` is refused, where vLLM ignores it. Ready-made tokens
(`image_embeds`, with --enable-mm-embeds) go through as they are, any number of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from regiontok.core.picture import Picture
from regiontok.serve.fixed_point import encoded_positions
from regiontok.serve.row_checks import UnusableRows, check_rows
from regiontok.serve.served_eyes import ServedEyes, ServedImage, open_served_eyes
from regiontok.serve.server_options import SERVER_OPTIONS, requested_regions

# vLLM takes all other fields from a picture whose tokens lie in the prefix cache already
POSITION_FIELDS = ("image_positions", "image_extent")

# eyes are opened once in a process, whoever asks
opened_eyes = cache(open_served_eyes)


def server_options(model_config: Any) -> Mapping[str, Any]:
    """The `mm_processor_kwargs` that the server of a model was started with.

    Raises:
        UnknownOption: If one of them is not known.
    """
    options: Mapping[str, Any] = model_config.get_multimodal_config().mm_processor_kwargs or {}
    SERVER_OPTIONS.check(options)
    return options


class RegionInfo(BaseProcessingInfo):  # type: ignore[misc]  # vLLM is not typed here
    """What vLLM asks of a model before there is a picture; it makes one for each request.

    Attributes:
        server_options: the `mm_processor_kwargs` that the server was started with.

    Raises:
        ValueError: If one of them is not known.
    """

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.server_options = server_options(ctx.model_config)

    @property
    def image_token_id(self) -> int:
        """The placeholder of a picture in a prompt's ids."""
        return int(self.get_hf_config().image_token_id)

    @cached_property
    def eyes(self) -> ServedEyes:
        """What makes the tokens; loaded at the first picture, in the process that gets requests."""
        model_config = self.ctx.model_config
        return opened_eyes(
            model_config.model,
            revision=model_config.revision or "",
            **{"device": "cpu", **self.server_options},
        )

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of pictures."""
        return {"image": None}

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        """The whole context: a picture may have as many tokens as there is room."""
        return {"image": seq_len}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """None of transformers' processors: ours are read by `requested_regions`."""
        return {}


class RegionDummies(BaseDummyInputsBuilder[RegionInfo]):  # type: ignore[misc]
    """What vLLM measures its memory with: ready-made tokens, so that no eyes are needed for it."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """A placeholder a picture."""
        token = self.info.get_tokenizer().convert_ids_to_tokens(self.info.image_token_id)
        return str(token) * mm_counts.get("image", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """As many tokens as fill the context."""
        count = mm_counts.get("image", 0)
        if not count:
            return {}
        width = self.info.ctx.model_config.get_inputs_embeds_size()
        return {"image": torch.zeros(count, max(1, seq_len // count), width)}


class RegionProcessor(BaseMultiModalProcessor[RegionInfo]):  # type: ignore[misc]
    """Pictures to tokens, and placeholders to as many."""

    def _call_hf_processor(
        self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, Any]
    ) -> BatchFeature:
        regions = requested_regions(hf_kwargs, self.info.server_options)
        pictures = [Picture.of(image) for image in hf_data["images"]]
        images = self.info.eyes.see(pictures, regions)
        dtype = self.info.ctx.model_config.dtype
        fields: dict[str, Any] = {
            "image_embeds": [image.values.to("cpu", dtype) for image in images]
        }
        return BatchFeature({**fields, **self._position_fields(images)})

    def _position_fields(self, images: Sequence[ServedImage]) -> dict[str, Any]:
        """What the engine reads beside the tokens: nothing where positions count them."""
        return {}

    def _postprocess_hf_mm_data(
        self,
        mm_inputs: Mapping[str, Any],
        hf_processor_mm_kwargs: Mapping[str, Any],
        processed_data: BatchFeature,
    ) -> BatchFeature:
        """Ready-made tokens are refused where the language model could not read them.

        vLLM itself would cast integers, answer NaN and end a request without a row with a 500.
        """
        if mm_inputs or "image_embeds" not in processed_data:
            return processed_data  # made here, now or for an earlier request
        if requested_regions(hf_processor_mm_kwargs, self.info.server_options) is not None:
            raise UnusableRows("ready-made tokens have their regions: ask for none beside them")
        width = self.info.ctx.model_config.get_inputs_embeds_size()
        for number, values in enumerate(processed_data["image_embeds"]):
            check_rows(values, width, f"picture {number}")
        return processed_data

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, Any]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            name: MultiModalFieldConfig.batched("image", keep_on_cpu=name in POSITION_FIELDS)
            for name in hf_inputs
        }

    def _get_prompt_updates(
        self,
        mm_items: Any,
        hf_processor_mm_kwargs: Mapping[str, Any],
        out_mm_kwargs: Mapping[str, Sequence[Any]],
    ) -> Sequence[PromptUpdate]:
        token_id = self.info.image_token_id

        def placeholders(index: int) -> list[int]:
            return [token_id] * len(out_mm_kwargs["image"][index]["image_embeds"].data)

        return [PromptReplacement(modality="image", target=[token_id], replacement=placeholders)]


class AxesProcessor(RegionProcessor):
    """The same for models with positions on several axes: each token has its own."""

    def _position_fields(self, images: Sequence[ServedImage]) -> dict[str, Any]:
        places = [image.positions.cpu() for image in images if image.positions is not None]
        extents = torch.tensor([[image.extent] for image in images])
        fields = [encoded_positions(place) for place in places], extents
        return dict(zip(POSITION_FIELDS, fields, strict=True))

    def _postprocess_hf_mm_data(
        self,
        mm_inputs: Mapping[str, Any],
        hf_processor_mm_kwargs: Mapping[str, Any],
        processed_data: BatchFeature,
    ) -> BatchFeature:
        """Ready-made tokens come without positions: they stand in a row."""
        super()._postprocess_hf_mm_data(mm_inputs, hf_processor_mm_kwargs, processed_data)
        if "image_embeds" in processed_data and POSITION_FIELDS[0] not in processed_data:
            rows = [_in_a_row(values) for values in processed_data["image_embeds"]]
            processed_data.update(self._position_fields(rows))
        return processed_data


def _in_a_row(values: torch.Tensor) -> ServedImage:
    along = torch.arange(len(values), dtype=torch.float64)
    positions = torch.stack([torch.zeros_like(along), along], 1)
    return ServedImage(values=values, positions=positions, extent=len(values))
