"""Tiny random checkpoints of the families that `check --weights` runs, and photos for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as skimage_photos

from regiontok.jobs.check.runners import RUNNERS

BODY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TEXT = BODY | {
    "vocab_size": 64,
    "projection_size": 32,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "photo", "of", "cat", "dog", "circle", "blue"]
SIDE = {"height": 42, "width": 42}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [128, 128],
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [4],
    "window_positional_embedding_background_size": [4, 4],
}
SAM2 = {
    "vision_config": {
        "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "backbone_config": HIERA,
        "backbone_channel_list": [64, 32, 16, 8],
    },
    "prompt_encoder_config": {
        "image_size": 128,
        "patch_size": 16,
        "hidden_size": 32,
        "mask_input_channels": 4,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    },
}


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch) -> None:
    """An empty cache of the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))


@pytest.fixture(scope="session")
def save_checkpoint() -> Iterator[Callable[[str, Path, int], None]]:
    """The function that writes a tiny random checkpoint of a runner's family to a folder."""
    hub = pytest.importorskip("transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def save(runner: str, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        model, processor = _model_and_processor(hub, runner)
        with torch.no_grad():
            # a fresh model's outputs are nearly the same for any input: stir them
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    yield save
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, save_checkpoint) -> Path:
    """A folder with `tiny/RUNNER`, a checkpoint for each runner."""
    root = tmp_path_factory.mktemp("checkpoints")
    for seed, runner in enumerate(RUNNERS):
        save_checkpoint(runner, root / "tiny" / runner, seed)
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of two photos of different shapes, one of them in a sub-folder."""
    root = tmp_path_factory.mktemp("photos")
    (root / "deep").mkdir()
    coffee = np.ascontiguousarray(skimage_photos.coffee()[:240, :240])
    Image.fromarray(skimage_photos.chelsea()).save(root / "deep" / "cat.png")
    Image.fromarray(coffee).save(root / "coffee.png")
    return root


def _model_and_processor(hub: Any, runner: str) -> tuple[Any, Any]:
    vision = BODY | {"image_size": 42, "patch_size": 14}
    if runner == "features":
        images = hub.BitImageProcessorPil(size={"shortest_edge": 48}, crop_size=SIDE)
        return hub.Dinov2Model(hub.Dinov2Config(**vision)), images
    if runner == "clip":
        images = hub.CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size=SIDE)
        config = hub.CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=32)
        return hub.CLIPModel(config), hub.CLIPProcessor(images, _tokenizer(hub))
    if runner == "siglip2":
        images = hub.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=30)
        config = hub.Siglip2Config(
            vision_config=BODY | {"patch_size": 8, "num_patches": 16},
            text_config=TEXT | {"max_position_embeddings": 64},
        )
        return hub.Siglip2Model(config), hub.Siglip2Processor(images, _tokenizer(hub))
    images = hub.Sam2ImageProcessor(
        size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32}
    )
    return hub.Sam2Model(hub.Sam2Config(**SAM2)), hub.Sam2Processor(images)


def _tokenizer(hub: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    words = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return hub.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **words)
