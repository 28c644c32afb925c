"""What bench/llm.py times: a `RegionVLM` of random weights, its prompts and its vision path.

The bytes of a cache are here too, by formula and of a real cache.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from llm_tables import PATCHES
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from regiontok.core.canvas import canvases
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.regions import Members
from regiontok.core.tokens import Tokens
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.regionizer import Regionizer

TEXT, IMAGE = 60, 3
# (width, layers, heads, inner width), of language model and encoder
SIZES = {
    "small": ((512, 8, 8, 1376), (384, 12, 6, 1536)),
    "7b": ((4096, 32, 32, 11008), (1024, 24, 16, 4096)),
}


def kv_bytes(config: Any, tokens: int, *, itemsize: int, batch: int = 1) -> int:
    """The bytes that `tokens` positions take in the cache of a model with full attention.

    They are layers x (keys, values) x key heads x a head's width x `itemsize`.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return batch * tokens * config.num_hidden_layers * 2 * heads * width * itemsize


def cache_bytes(cache: Any) -> int:
    """The bytes of a real cache of transformers."""
    return sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))


def build(size: str, device: str, dtype: torch.dtype, folder: Path) -> RegionVLM:
    """A `RegionVLM` of random weights: CLIP's shape, two-layer MLP, Llama's shape."""
    (width, layers, heads, inner), (vision_width, vision_layers, vision_heads, vision_inner) = (
        SIZES[size]
    )
    vision = CLIPVisionConfig(
        hidden_size=vision_width,
        num_hidden_layers=vision_layers,
        num_attention_heads=vision_heads,
        intermediate_size=vision_inner,
        image_size=336,
        patch_size=14,
    )
    torch.manual_seed(0)
    CLIPVisionModel(vision).to(dtype).save_pretrained(folder)
    square = {"height": 336, "width": 336}
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 336},
        "crop_size": square,
    }
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**preprocessor, "do_resize": True, "do_center_crop": True})
    )
    text = LlamaConfig(
        vocab_size=32000,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
    )
    with torch.device(device):
        language_model = LlamaForCausalLM(text).to(dtype)
    name = str(dtype).removeprefix("torch.")
    settings = TokenizerSettings(encoder=f"transformers({str(folder)!r}, dtype={name!r})")
    return RegionVLM.from_parts(language_model, settings, image_token_id=IMAGE).eval()


class Prompt:
    """A batch of prompts with one image each, for one number of visual tokens."""

    def __init__(self, model: RegionVLM, count: int, batch: int) -> None:
        self.model, self.count, self.batch = model, count, batch
        self.ids = torch.randint(4, 32000, (batch, TEXT + 1), device=model.device)
        self.ids[:, 8] = IMAGE
        image = torch.arange(batch, device=model.device).repeat_interleave(count)
        zeros = torch.zeros_like(image)
        values = torch.randn(
            len(image),
            model.config.text_config.hidden_size,
            device=model.device,
            dtype=model.head_dtype,
        )
        self.tokens = Tokens(values, image, zeros, zeros, zeros - 1, zeros, batch)
        self.cache: Any = None

    def prefill(self, tokens: Tokens | None = None) -> Any:
        """Run the prompt up to the logits of the first new token, and keep the cache."""
        with torch.inference_mode():
            out = self.model(
                self.ids, pictures=tokens or self.tokens, use_cache=True, logits_to_keep=1
            )
        self.cache = out.past_key_values
        return out

    def decode(self, steps: int) -> None:
        """Run so many further tokens; afterwards the cache is as it was."""
        length = self.cache.get_seq_length()
        with torch.inference_mode():
            for _ in range(steps):
                self.model.language_model(
                    input_ids=self.ids[:, :1], past_key_values=self.cache, use_cache=True
                )
        self.cache.crop(length - self.cache.get_seq_length())


class VisionPath:
    """Pictures on their way through the bare network and regions, to a number of tokens."""

    def __init__(self, model: RegionVLM, count: int, pictures: list[Picture]) -> None:
        encoder = model.regionizer.encoder
        self.model = model
        self.regionizer = Regionizer(
            encoder, steps=f"merge(k={count}) | sort('com')" if count < PATCHES else ""
        )
        frames = [encoder.frame(picture.size) for picture in pictures]
        preprocess, dtype = encoder._preprocess, getattr(torch, encoder.dtype)
        pixels = canvases(pictures, frames, resample=preprocess.resample, fill=preprocess.fill)
        self.values = preprocess.values(pixels, encoder.device, dtype)
        self.network = encoder._module
        self.grids: list[PatchGrid] = self.regionizer.see(pictures)

    def encode(self) -> None:
        """Run the network alone."""
        with torch.inference_mode():
            self.network(pixel_values=self.values)

    def regions_alone(self) -> Members:
        """Make regions of what was encoded before."""
        with torch.no_grad():
            return Members.of(
                [trail[-1] for trail in self.regionizer.trails(self.grids)], images_of(self.grids)
            )

    def regions(self) -> Members:
        """Encode, then make regions."""
        self.encode()
        return self.regions_alone()

    def tokens(self) -> Tokens:
        """Encode, make regions, pool them and run the connector."""
        members = self.regions()
        with torch.no_grad():
            return self.model.head(self.grids, members)
