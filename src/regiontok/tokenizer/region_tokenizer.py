"""RegionTokenizer = Regionizer (frozen, cacheable) + VisualHead (what learns): images in, region
tokens out.

The papers' figure as one file: encoder -> patch features -> regions -> one token or one block of
tokens a region.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.methods import Encoder, Place, Pool, RegionStep, Segmenter, Transform
from regiontok.settings import registry
from regiontok.settings.recipe import Recipe, TokenizerSettings, load_recipe, to_toml
from regiontok.system.files import replacing
from regiontok.tokenizer.clock import Clock
from regiontok.tokenizer.head import VisualHead
from regiontok.tokenizer.regionizer import Regionizer, pictures, resolve_encoder


@dataclass(frozen=True, eq=False)
class Run:
    """What one call made: the tokens, and everything on the way to them.

    Attributes:
        tokens: of all pictures, in their order.
        pictures: as they came.
        grids: of each picture or clip its views; without tiles there is one.
        trails: for each view its regions before the first step, and after each.
        seconds: by stage, for all pictures together: decode, segment, encode (with transforms),
            regions, pool.
    """

    tokens: Tokens
    pictures: list[Any]
    grids: list[PatchGrid]
    trails: list[list[Regions]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def regions(self) -> list[Regions]:
        """The regions of each view."""
        return [trail[-1] for trail in self.trails]

    def views(self, image: int) -> list[int]:
        """Which of `grids`, `trails` and `regions` are those of one picture."""
        return [place for place, owner in enumerate(images_of(self.grids)) if owner == image]


class RegionTokenizer(nn.Module):
    """Images -> region tokens, from specs.

    Args:
        encoder: spec ("lite", "filters(size=448)",
            "transformers('openai/clip-vit-large-patch14-336', layer=-2)"), a hub name, a folder, or
            a built encoder.
        regions: spec of the steps; "" is the patch baseline, "merge(0.5) | sort('com')" clusters.
        segmenter: spec, for regions that read masks.
        transforms: spec; what steps read.
        norm: "none" or "rms" (learnable), before pooling.
        partition_on: "raw", or "normed": steps read what the norm gives (row D7).
        pool: spec: "mean", "attend(heads=16)", "select".
        whole, cls: tokens in front, see `VisualHead`.
        place_features, place_tokens: specs of delimiters and positions before and after the
            connector, see `VisualHead`; without a language model there is no connector, and a
            delimiter of its vocabulary is zero.
        padding, tiles, cut: see `Regionizer`.
        seed: of the head's initialisation.
        device: where encoder and head run.

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
        if partition_on not in ("raw", "normed"):
            raise ValueError(f"partition_on must be 'raw' or 'normed', not {partition_on!r}")
        if partition_on == "normed" and norm == "none":
            raise ValueError("partition_on='normed' needs a norm: say norm='rms'")
        built = resolve_encoder(encoder).on(device)
        self.regionizer = Regionizer(
            built,
            segmenter=segmenter,
            transforms=transforms,
            steps=regions,
            padding=padding,
            tiles=tiles,
            cut=cut,
        )
        self.pool = registry.resolve("pool", pool)
        self._norm, self._partition_on, self._seed = norm, partition_on, seed
        self._places = {
            "place_features": registry.resolve_pipeline("place", place_features),
            "place_tokens": registry.resolve_pipeline("place", place_tokens),
        }
        if cls and not self.regionizer.encoder.has_cls:
            raise ValueError(f"{registry.render(built)} has no CLS or summary token; set cls=False")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            options: dict[str, Any] = {
                "whole": whole,
                "cls": cls,
                "newline": self.regionizer.newline,
                **self._places,
            }
            self.head = VisualHead(
                self.regionizer.encoder.width, norm=norm, pool=self.pool, **options
            ).to(device)

    def forward(self, images: Any) -> Tokens:
        """Tokens of one image or many: paths, bytes, Pillow images, arrays, tensors, of any sizes;
        a `Clip` counts as one image.

        Gradients reach the head only. A batch gives what its images give one by one, up to floating
        point: regions and order are the same, values differ by at most 1e-4 of their scale
        (convolutions and matrix products choose their algorithm by batch size).
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
        """The tokens and everything on the way; `grids` from another tokenizer with the same
        encoder are taken as they are.

        Args:
            images: as in `forward`.
            grids: what `regionizer.see` gave for the same pictures.
            masks: segment, or do not; None does what the steps need.
            draw: the epoch: seeded steps draw anew.
        """
        clock = Clock()
        with clock("decode"):
            seen = pictures(images)
        if not seen:
            raise ValueError("no image given")
        with torch.no_grad():
            grids = (
                self.regionizer.see(seen, masks=masks, draw=draw, clock=clock)
                if grids is None
                else grids
            )
            with clock("regions"):
                trails = self.regionizer.trails(self._for_steps(grids))
        with clock("pool"):
            tokens = self.head(grids, Members.of([trail[-1] for trail in trails], images_of(grids)))
        return Run(tokens, seen, grids, trails, clock.seconds)

    def _for_steps(self, grids: list[PatchGrid]) -> list[PatchGrid]:
        if self._partition_on == "raw":
            return grids
        return [
            grid.but(features=self.head.norm(grid.features), values=grid.pooled) for grid in grids
        ]

    @cached_property
    def settings(self) -> TokenizerSettings:
        """All settings as text: what a recipe holds."""
        frozen = self.regionizer
        return TokenizerSettings.model_validate(
            {
                "encoder": registry.render(frozen.encoder),
                "segmenter": registry.render(frozen.segmenter) if frozen.segmenter else "",
                "transforms": registry.render_pipeline(frozen.transforms),
                "regions": registry.render_pipeline(frozen.steps),
                "norm": self._norm,
                "partition_on": self._partition_on,
                "pool": registry.render(self.pool),
                "whole": self.head.whole,
                "cls": self.head.cls,
                **{key: registry.render_pipeline(places) for key, places in self._places.items()},
                "padding": frozen.padding,
                "tiles": frozen.tiles,
                "cut": frozen.cut,
                "seed": self._seed,
            }
        )

    @classmethod
    def from_recipe(
        cls, recipe: Recipe | str | Path, *, scale: str = "mini", device: str = "cpu"
    ) -> RegionTokenizer:
        """From a recipe or its path."""
        recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, scale=scale)
        return cls(**recipe.tokenizer.model_dump(), device=device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `recipe.toml`, `head.safetensors` and `provenance.json`; the frozen encoder is
        named, not copied."""
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
        with replacing(folder / "head.safetensors") as part:
            save_file(state, part, metadata={"format": "pt"})
        with replacing(folder / "provenance.json") as part:
            part.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        with replacing(folder / "recipe.toml") as part:
            part.write_text(to_toml(recipe), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu") -> RegionTokenizer:
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: the encoder's weights are not those the head was saved with.
        """
        folder = Path(folder)
        tokenizer = cls.from_recipe(folder / "recipe.toml", device=device)
        saved = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["weights"]
        if saved != tokenizer.regionizer.encoder.identity:
            raise ValueError(
                f"{folder} was saved with other encoder weights ({saved}) than these ({tokenizer.regionizer.encoder.identity})"
            )
        tokenizer.head.load_state_dict(load_file(folder / "head.safetensors", device=device))
        return tokenizer
