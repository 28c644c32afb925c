"""RegionTokenizer = Regionizer (frozen, cacheable) + VisualHead (what learns): images in, region tokens out.

The papers' figure as one file: encoder -> patch features -> regions -> one token or one block of tokens a region.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from regiontok import clips
from regiontok.core import spec
from regiontok.core.clip import Clip
from regiontok.core.files import replacing
from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.picture import Picture
from regiontok.core.recipe import Recipe, TokenizerSettings, load_recipe, to_toml
from regiontok.core.regions import Members, Regions
from regiontok.core.tiling import Tiling
from regiontok.core.tokens import Tokens
from regiontok.encoders._catalogue import route
from regiontok.head import VisualHead
from regiontok.tiles import prepared, views_of

STAGES = ("decode", "segment", "encode", "regions", "pool")


@dataclass(frozen=True, eq=False)
class Run:
    """What one call made: the tokens, and everything on the way to them.

    Attributes:
        tokens: of all pictures, in their order.
        pictures: as they came.
        grids: of each picture or clip its views; without tiles there is one.
        trails: for each view its regions before the first step, and after each.
        seconds: by stage, for all pictures together: decode, segment, encode (with transforms), regions, pool.
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


class Regionizer:
    """Encoder, segmenter, transforms and steps: pictures -> grids and their regions. Frozen; nothing in it learns.

    Args:
        encoder, segmenter, transforms, steps: built methods, or their specs.
        padding: "drop" keeps patches that see only padding out of every region; "keep" is LLaVA's behaviour.
        tiles: "" shows the encoder the whole image once. Otherwise that, and the image cut into tiles of the encoder's canvas: "2x2",
            "anyres" (LLaVA-NeXT's five grids), "anyres(6)", "1x2,2x1,2x2"; see `Tiling.of`.
        cut: regions of the tiles stitched to one grid ("stitched"), or of each tile by itself ("tile").

    Raises:
        SpecError: a spec that cannot be built.
        ValueError: a source that does not stand first, segments without a segmenter, a segmenter under shuffled patches, tiles of an
            encoder that lays pictures out otherwise.
    """

    def __init__(
        self,
        encoder: Any = "lite",
        *,
        segmenter: Any = None,
        transforms: Any = "",
        steps: Any = "",
        padding: str = "drop",
        tiles: str = "",
        cut: str = "stitched",
    ) -> None:
        spec.one_of("padding", padding, ("drop", "keep"))
        spec.one_of("cut", cut, ("stitched", "tile"))
        self.encoder = build_encoder(encoder) if isinstance(encoder, str) else encoder
        self.segmenter = spec.build("segmenter", segmenter) if isinstance(segmenter, str) and segmenter else segmenter or None
        self.transforms = spec.build_pipeline("transform", transforms) if isinstance(transforms, str) else tuple(transforms)
        self.steps = spec.build_pipeline("step", steps) if isinstance(steps, str) else tuple(steps)
        self.padding, self.tiles, self.cut = padding, tiles, cut
        self.tiling = Tiling.of(tiles) if tiles else None
        if self.tiling:
            self.encoder = prepared(self.encoder)
        self._check()

    @classmethod
    def of(cls, settings: TokenizerSettings, *, device: str = "cpu", encoder: Any = None) -> Regionizer:
        """From a tokenizer's settings, on a device; `encoder` if theirs is built already."""
        return cls(
            _on(encoder or build_encoder(settings.encoder), device),
            segmenter=settings.segmenter,
            transforms=settings.transforms,
            steps=settings.regions,
            padding=settings.padding,
            tiles=settings.tiles,
            cut=settings.cut,
        )

    def _check(self) -> None:
        for place, step in enumerate(self.steps):
            if place and getattr(step, "source", False):
                raise ValueError(f"{spec.name_of(step)} makes regions afresh, so it must stand first in {self.spec!r}")
        if self.reads_masks and self.segmenter is None:
            raise ValueError(f"{self.spec!r} needs pixel masks: name a segmenter, say segmenter='felzenszwalb'")
        if self.reads_masks and getattr(self.encoder, "shuffle", None) is not None:
            raise ValueError("masks do not follow shuffled patches: use regions without a segmenter, or no shuffle")
        for transform in self.transforms:
            if hasattr(transform, "check"):
                transform.check(self.encoder)

    @property
    def reads_masks(self) -> bool:
        """True if some transform or step reads the segmenter's masks."""
        return any(getattr(method, "reads_masks", False) for method in (*self.transforms, *self.steps))

    def but(self, steps: str) -> Regionizer:
        """The same encoder, segmenter and transforms with other steps; "" is every patch by itself, which asks no segmenter."""
        other = copy.copy(self)
        other.steps = spec.build_pipeline("step", steps)
        other._check()
        return other

    @property
    def newline(self) -> bool:
        """True if a token ends each row of the tiles, as in LLaVA-NeXT: where their patches are kept as they are."""
        return self.tiling is not None and self.cut == "stitched" and not self.steps

    @property
    def spec(self) -> str:
        """The steps as a spec; the empty one is "patches"."""
        return spec.render_pipeline(self.steps) or "patches"

    @property
    def fingerprint(self) -> str:
        """Everything that decides the regions of a picture, as text: with `picture.key` it is the key of any cache."""
        parts = {
            "encoder": spec.render(self.encoder, full=True),
            "weights": self.encoder.identity,
            "segmenter": spec.render(self.segmenter, full=True) if self.segmenter and self.reads_masks else "",
            "segmented": getattr(self.segmenter, "identity", "") if self.segmenter and self.reads_masks else "",
            "transforms": spec.render_pipeline(self.transforms, full=True),
            "transformed": [getattr(transform, "identity", "") for transform in self.transforms],
            "steps": spec.render_pipeline(self.steps, full=True),
            "padding": self.padding,
            "tiles": [self.tiling.grids, self.cut] if self.tiling else [],
            "decoding": f"pillow {version('pillow')}",
        }
        return json.dumps(parts)

    def see(
        self, pictures: Sequence[Picture | Clip], *, masks: bool | None = None, draw: int = 0, clock: Clock | None = None
    ) -> list[PatchGrid]:
        """Segment (if some step reads masks, or `masks` says so) and encode: the views of each picture, picture by picture.

        Masks are those of the whole picture; they reach each view through its own frame.

        Raises:
            ValueError: masks of a clip: segmenters see single pictures, whose masks have no identity over time. Tiles of a clip.
        """
        clock = clock or Clock()
        wanted = self.reads_masks if masks is None else masks
        if wanted and self.segmenter and any(isinstance(picture, Clip) for picture in pictures):
            raise ValueError("a clip has no pixel masks: take steps that read features, say regions='merge(0.5)'")
        with clock("segment"):
            found = self.segmenter(pictures) if wanted and self.segmenter else [None] * len(pictures)
        with clock("encode"):
            views = self._encode(pictures)
            grids = [
                grid.but(masks=found[image], padding=self.padding, draw=draw)
                for grid, image in zip(views, images_of(views), strict=True)
            ]
            for transform in self.transforms:
                grids = [transform.one(grid) for grid in grids]
        return grids

    def _encode(self, pictures: Sequence[Picture | Clip]) -> list[PatchGrid]:
        if self.tiling is None:
            return clips.encode(self.encoder, pictures)
        return views_of(self.encoder, pictures, self.tiling, cut=self.cut, padding=self.padding)

    def trails(self, grids: Sequence[PatchGrid]) -> list[list[Regions]]:
        """For each view its regions before the first step (every valid patch its own) and after each."""
        stages = [[Regions.singletons(grid.grid, grid.valid) for grid in grids]]
        for step in self.steps:
            if hasattr(step, "many"):
                stages.append(step.many(stages[-1], grids))
            else:
                stages.append([step.one(regions, grid) for regions, grid in zip(stages[-1], grids, strict=True)])
        return [list(trail) for trail in zip(*stages, strict=True)]

    def __call__(self, pictures: Sequence[Picture | Clip]) -> tuple[list[PatchGrid], Members]:
        """Grids, and the regions of the batch laid flat."""
        with torch.no_grad():
            grids = self.see(pictures)
            return grids, Members.of([trail[-1] for trail in self.trails(grids)], images_of(grids))


class RegionTokenizer(nn.Module):
    """Images -> region tokens, from specs.

    Args:
        encoder: spec ("lite", "filters(size=448)", "transformers('openai/clip-vit-large-patch14-336', layer=-2)"), a hub name, a
            folder, or a built encoder.
        regions: spec of the steps; "" is the patch baseline, "merge(0.5) | sort('com')" clusters.
        segmenter: spec, for regions that read masks.
        transforms: spec; what steps read.
        norm: "none" or "rms" (learnable), before pooling.
        partition_on: "raw", or "normed": steps read what the norm gives (row D7).
        pool: spec: "mean", "attend(heads=16)", "select".
        whole, cls: tokens in front, see `VisualHead`.
        place_features, place_tokens: specs of delimiters and positions before and after the connector, see `VisualHead`; without a
            language model there is no connector, and a delimiter of its vocabulary is zero.
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
        encoder: Any = "lite",
        regions: Any = "",
        *,
        segmenter: Any = None,
        transforms: Any = "",
        norm: str = "none",
        partition_on: str = "raw",
        pool: Any = "mean",
        whole: bool = False,
        cls: bool = False,
        place_features: Any = "",
        place_tokens: Any = "",
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
        encoder = build_encoder(encoder) if isinstance(encoder, str) else encoder
        self.regionizer = Regionizer(
            _on(encoder, device),
            segmenter=segmenter,
            transforms=transforms,
            steps=regions,
            padding=padding,
            tiles=tiles,
            cut=cut,
        )
        self._pool = spec.build("pool", pool) if isinstance(pool, str) else pool
        self._norm, self._partition_on, self._seed = norm, partition_on, seed
        self._places = {
            key: spec.build_pipeline("place", given) if isinstance(given, str) else tuple(given)
            for key, given in (("place_features", place_features), ("place_tokens", place_tokens))
        }
        if cls and not self.regionizer.encoder.has_cls:
            raise ValueError(f"{spec.render(encoder)} has no CLS or summary token; set cls=False")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            options: dict[str, Any] = {"whole": whole, "cls": cls, "newline": self.regionizer.newline, **self._places}
            self.head = VisualHead(self.regionizer.encoder.width, norm=norm, pool=self._pool, **options).to(device)

    def forward(self, images: Any) -> Tokens:
        """Tokens of one image or many: paths, bytes, Pillow images, arrays, tensors, of any sizes; a `Clip` counts as one image.

        Gradients reach the head only. A batch gives what its images give one by one, up to floating point: regions and order are
        the same, values differ by at most 1e-4 of their scale (convolutions and matrix products choose their algorithm by batch size).
        """
        return self.run(images).tokens

    def run(self, images: Any, *, grids: list[PatchGrid] | None = None, masks: bool | None = None, draw: int = 0) -> Run:
        """The tokens and everything on the way; `grids` from another tokenizer with the same encoder are taken as they are.

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
            grids = self.regionizer.see(seen, masks=masks, draw=draw, clock=clock) if grids is None else grids
            with clock("regions"):
                trails = self.regionizer.trails(self._for_steps(grids))
        with clock("pool"):
            tokens = self.head(grids, Members.of([trail[-1] for trail in trails], images_of(grids)))
        return Run(tokens, seen, grids, trails, clock.seconds)

    def _for_steps(self, grids: list[PatchGrid]) -> list[PatchGrid]:
        if self._partition_on == "raw":
            return grids
        return [grid.but(features=self.head.norm(grid.features), values=grid.pooled) for grid in grids]

    @cached_property
    def settings(self) -> TokenizerSettings:
        """All settings as text: what a recipe holds."""
        frozen = self.regionizer
        return TokenizerSettings.model_validate(
            {
                "encoder": spec.render(frozen.encoder),
                "segmenter": spec.render(frozen.segmenter) if frozen.segmenter else "",
                "transforms": spec.render_pipeline(frozen.transforms),
                "regions": spec.render_pipeline(frozen.steps),
                "norm": self._norm,
                "partition_on": self._partition_on,
                "pool": spec.render(self._pool),
                "whole": self.head.whole,
                "cls": self.head.cls,
                **{key: spec.render_pipeline(places) for key, places in self._places.items()},
                "padding": frozen.padding,
                "tiles": frozen.tiles,
                "cut": frozen.cut,
                "seed": self._seed,
            }
        )

    @classmethod
    def from_recipe(cls, recipe: Recipe | str | Path, *, scale: str = "mini", device: str = "cpu") -> RegionTokenizer:
        """From a recipe or its path."""
        recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, scale=scale)
        return cls(**recipe.tokenizer.model_dump(), device=device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `recipe.toml`, `head.safetensors` and `provenance.json`; the frozen encoder is named, not copied."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        recipe = Recipe(
            name=folder.name or "tokenizer", what="saved by RegionTokenizer.save_pretrained", tokenizer=self.settings
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


class Clock:
    """Seconds by stage; each stage waits for the GPU, so that it is charged its own work."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str):
        """Add the time of a `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self.seconds[stage] += time.perf_counter() - start


def build_encoder(text: str) -> Any:
    """An encoder from its spec or short name ("dinov2-l"); a hub name or a folder goes to the encoder that reads its config."""
    return spec.build("encoder", route(text))


def pictures(images: Any) -> list[Picture | Clip]:
    """Decode one image or many; an array or tensor with four axes is a batch. A `Clip` stays one."""
    if getattr(images, "ndim", None) == 4 or (isinstance(images, Iterable) and not _one(images)):
        return [image if isinstance(image, Clip) else Picture.of(image) for image in images]
    return [images if isinstance(images, Clip) else Picture.of(images)]


def _one(images: Any) -> bool:
    return (
        isinstance(images, str | bytes | bytearray | Path | Picture) or hasattr(images, "ndim") or hasattr(images, "getbands")
    )


def _on(encoder: Any, device: str) -> Any:
    return replace(encoder, device=device) if getattr(encoder, "device", device) != device else encoder
