"""RegionTokenizer: a frozen Regionizer and a VisualHead that learns; images in, region tokens out.

The papers' figure as one file: encoder -> patch features -> regions -> one token or one block of
tokens a region.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from regiontok.core.grid import PatchGrid
from regiontok.core.tokens import Tokens
from regiontok.methods import Encoder, Place, Pool, RegionStep, Segmenter, Transform
from regiontok.settings import registry
from regiontok.settings.recipe import Recipe, TokenizerSettings, load_recipe, to_toml
from regiontok.system.devices import resolve_device
from regiontok.system.files import replacing
from regiontok.system.strict_json import parse_json
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.head import VisualHead
from regiontok.tokenizer.images import decode_images
from regiontok.tokenizer.pipeline import label_of, last_members
from regiontok.tokenizer.regionizer import Regionizer, resolve_encoder
from regiontok.tokenizer.run import Run


class RegionTokenizer(nn.Module):
    """Images -> region tokens, from specs.

    Args:
        encoder: spec ("lite", "filters(size=448)",
            "transformers('openai/clip-vit-large-patch14-336', layer=-2)"), a hub name, a folder, or
            a built encoder.
        regions: spec of the steps; "" is the patch baseline, "merge(0.5) | sort('com')" clusters.
        segmenter: spec, for regions that read masks.
        transforms: spec of what changes the features that steps read.
        norm: "none" or "rms" (learnable), before pooling.
        partition_on: "raw", or "normed": steps read what the norm gives (row D7).
        pool: spec: "mean", "attend(heads=16)", "select".
        whole, cls: tokens in front, see `VisualHead`.
        place_features, place_tokens: specs of delimiters and positions before and behind the
            connector, see `VisualHead`; without a language model there is no connector, and a
            delimiter of its vocabulary is zero.
        padding, tiles, cut: see `Regionizer`.
        seed: seed of the head's initialisation.
        device: where encoder and head run; `to`, `cuda` and `cpu` move both. A segmenter with a
            network runs where its own spec says.

    >>> import numpy as np
    >>> tokenizer = RegionTokenizer("filters", "windows(4)")
    >>> tokens = tokenizer(np.zeros((60, 80, 3), np.uint8))
    >>> len(tokens), tokens.counts.tolist()
    (4, [4])
    """

    def __init__(
        self,
        encoder: Encoder | str = "lite",
        regions: Sequence[RegionStep] | str = "",
        *,
        segmenter: Segmenter | str | None = None,
        transforms: Sequence[Transform] | str = "",
        norm: str = "none",
        partition_on: str = "raw",
        pool: Pool | str = "mean",
        whole: bool = False,
        cls: bool = False,
        place_features: Sequence[Place] | str = "",
        place_tokens: Sequence[Place] | str = "",
        padding: str = "drop",
        tiles: str = "",
        cut: str = "stitched",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        device = resolve_device(device)
        self.regionizer = Regionizer(
            resolve_encoder(encoder).on(device),
            segmenter=segmenter,
            transforms=transforms,
            steps=regions,
            padding=padding,
            tiles=tiles,
            cut=cut,
        )
        built_encoder = self.regionizer.encoder
        if cls and not built_encoder.has_cls:
            raise ValueError(
                f"{label_of(built_encoder)} has no CLS or summary token; set cls=False"
            )
        self.pool = registry.resolve("pool", pool)
        self.place_features = registry.resolve_pipeline("place", place_features)
        self.place_tokens = registry.resolve_pipeline("place", place_tokens)
        self._norm, self._seed, self._device = norm, seed, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = VisualHead(
                built_encoder.width,
                norm=norm,
                partition_on=partition_on,
                pool=self.pool,
                whole=whole,
                cls=cls,
                newline=self.regionizer.newline,
                place_features=self.place_features,
                place_tokens=self.place_tokens,
            ).to(device)

    def __repr__(self) -> str:
        """One line; `tokenizer.head` shows the modules that learn."""
        return (
            f"RegionTokenizer(encoder={label_of(self.regionizer.encoder)}, "
            f"regions={self.regionizer.spec!r}, pool={label_of(self.pool)})"
        )

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> RegionTokenizer:
        """What `to`, `cuda`, `half` and the like call: the frozen encoder moves with the head."""
        probe = torch.empty(0, device=self._device)
        moved = fn(probe).device  # torch raises here where there is no such device
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if moved != probe.device:
            self._device = str(moved)
            self.regionizer = self.regionizer.on(self._device)
        return self

    def forward(self, images: Any) -> Tokens:
        """Tokens of one image or many: paths, bytes, Pillow images, arrays, tensors, of any sizes.

        A `Clip` counts as one image. Gradients reach the head only. A batch gives what its images
        give one by one, up to floating point: regions and order are the same, values differ by at
        most 1e-4 of their scale (convolutions and matrix products choose their algorithm by batch
        size).
        """
        return self.run(images).tokens

    def run(
        self,
        images: Any,
        *,
        grids: list[PatchGrid] | None = None,
        masks: bool | None = None,
        draw: int = 0,
    ) -> Run:
        """The tokens and everything on the way to them.

        Args:
            images: as in `forward`.
            grids: what `regionizer.see` gave for the same pictures, also that of another tokenizer
                with the same encoder; None encodes them.
            masks: True segments, False does not; None segments if a transform or step reads masks.
            draw: the epoch: seeded steps draw anew.

        Raises:
            ValueError: If there is no image.
        """
        clock = Clock()
        with clock("decode"):
            pictures = decode_images(images)
        if not pictures:
            raise ValueError("no image given")
        with torch.no_grad():
            if grids is None:
                grids = self.regionizer.see(pictures, masks=masks, draw=draw, clock=clock)
            with clock("regions"):
                trails = self.regionizer.trails(self.head.read_by_steps(grids))
        with clock("pool"):
            tokens = self.head(grids, last_members(trails, grids))
        return Run(tokens, pictures, grids, trails, clock.seconds)

    @cached_property
    def settings(self) -> TokenizerSettings:
        """All settings as text: what a recipe holds."""
        regionizer = self.regionizer
        segmenter = regionizer.segmenter
        return TokenizerSettings.model_validate(
            {
                "encoder": registry.render(regionizer.encoder),
                "segmenter": registry.render(segmenter) if segmenter else "",
                "transforms": registry.render_pipeline(regionizer.transforms),
                "regions": registry.render_pipeline(regionizer.steps),
                "norm": self._norm,
                "partition_on": self.head.partition_on,
                "pool": registry.render(self.pool),
                "whole": self.head.whole,
                "cls": self.head.cls,
                "place_features": registry.render_pipeline(self.place_features),
                "place_tokens": registry.render_pipeline(self.place_tokens),
                "padding": regionizer.padding,
                "tiles": regionizer.tiles,
                "cut": regionizer.cut,
                "seed": self._seed,
            }
        )

    @classmethod
    def from_recipe(
        cls, recipe: Recipe | str | Path, *, scale: str = "mini", device: str = "cpu"
    ) -> RegionTokenizer:
        """The region tokenizer of a recipe: the recipe itself, its name, or its path.

        >>> RegionTokenizer.from_recipe("quick/patches").regionizer.spec
        'patches'
        """
        recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, scale=scale)
        return cls(**recipe.tokenizer.model_dump(), device=device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `recipe.toml`, `head.safetensors` and `provenance.json` into a folder.

        The frozen encoder is named, not copied.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        recipe = Recipe(
            name=folder.name or "tokenizer",
            what="saved by RegionTokenizer.save_pretrained",
            tokenizer=self.settings,
        )
        provenance = {
            "weights": self.regionizer.encoder.identity,
            "regiontok": version("regiontok"),
            "torch": torch.__version__,
        }
        state = {name: value.contiguous() for name, value in self.head.state_dict().items()}
        with replacing(folder / "head.safetensors") as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
        with replacing(folder / "provenance.json") as temporary:
            temporary.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        with replacing(folder / "recipe.toml") as temporary:
            temporary.write_text(to_toml(recipe), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu") -> RegionTokenizer:
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: If the encoder's weights are not those that the head was saved with.
        """
        folder = Path(folder)
        tokenizer = cls.from_recipe(folder / "recipe.toml", device=device)
        provenance = parse_json((folder / "provenance.json").read_text(encoding="utf-8"))
        identity = tokenizer.regionizer.encoder.identity
        if provenance["weights"] != identity:
            raise ValueError(
                f"{folder} was saved with other encoder weights ({provenance['weights']}) than "
                f"these ({identity})"
            )
        tokenizer.head.load_state_dict(load_file(folder / "head.safetensors", device=device))
        return tokenizer
