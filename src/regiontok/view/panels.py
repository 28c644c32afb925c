"""Panels: what one setting makes of one view of a picture or clip, as the page gets it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import numpy as np
import torch

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.tiling import Tiling
from regiontok.methods import Encoder, Pool
from regiontok.settings import registry
from regiontok.system.arrays import as_array
from regiontok.tokenizer.regionizer import Regionizer, build_encoder
from regiontok.tokenizer.tiles import count_views
from regiontok.view.feature_data import feature_data
from regiontok.view.mask_data import mask_data
from regiontok.view.settings import ViewSetting
from regiontok.view.tree_data import regions_data
from regiontok.view.truth import truth_data

Seen = Picture | Clip
Made = TypeVar("Made")
KEPT = 32  # grids and panels in memory: five settings of six photos


class PanelMaker:
    """Makes the panels of pictures; each picture is encoded once for all settings that share it.

    A setting has a panel for each of its views of a picture: several with tiles, else one.

    Calls may come from several threads: one at a time works, and what was made a moment ago is
    kept.

    Args:
        settings: the settings.
        pool: spec of the pool, which says how many tokens a region becomes.
        device: where the encoders run.

    Raises:
        SpecError: If a spec cannot be built.
        ValueError: If the steps of a setting do not fit one another.
    """

    def __init__(
        self, settings: Sequence[ViewSetting], *, pool: str = "mean", device: str = "cpu"
    ) -> None:
        self.settings = tuple(settings)
        self.pool: Pool = registry.resolve("pool", pool)
        self._device = device
        self._encoders: dict[str, Encoder] = {}
        self._lock = threading.RLock()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        for setting in self.settings:  # a wrong spec is told before the first picture
            self._regionizer(setting.at(64))

    def places(self, seen: Seen) -> list[tuple[int, int]]:
        """The setting and the view of each panel of a picture."""
        return [
            (number, view)
            for number, setting in enumerate(self.settings)
            for view in range(self._views(setting, seen))
        ]

    def labels(self, seen: Seen) -> list[dict[str, str]]:
        """What is written above each panel of a picture."""
        return [
            self._label(setting, name)
            for setting in self.settings
            for name in view_names(self._views(setting, seen))
        ]

    def _views(self, setting: ViewSetting, seen: Seen) -> int:
        if not setting.tiles or isinstance(seen, Clip):
            return 1
        encoder = self._encoder(setting.encoder).for_tiles()
        return count_views(encoder, seen.size, Tiling.of(setting.tiles), cut=setting.cut)

    @property
    def tokens_of_a_region(self) -> str:
        """ "one" or "patches", as the pool says; "some" of a pool whose number is not known."""
        if self.pool.one_token:
            return "one"
        return "patches" if self.pool.keeps_patches else "some"

    def panel(
        self, seen: Seen, number: int, *, humans: Sequence[np.ndarray] = (), k: int = 64
    ) -> dict[str, Any]:
        """What a setting makes of a view of a picture.

        Args:
            seen: the picture or clip.
            number: which panel, a place of `places`.
            humans: label maps that people drew of it, for the covering.
            k: number of regions in the place of `{k}`; other settings do not read it.

        Raises:
            ValueError: If a step or the segmenter cannot do this picture.
        """
        place, view = self.places(seen)[number]
        setting = self.settings[place]
        key = ("panel", seen.key, setting, view, k if setting.follows_budget else 0, len(humans))
        return self._once(key, lambda: self._panel(seen, place, view, humans, k))

    def _panel(
        self, seen: Seen, place: int, view: int, humans: Sequence[np.ndarray], k: int
    ) -> dict[str, Any]:
        setting = self.settings[place]
        regionizer, grids = self._regionizer(setting.at(k)), self._grids(setting.at(k), seen)
        grid = grids[view]
        is_whole = setting.cut == "stitched" or not view  # a tile shows a part of what people drew
        return {
            **self._label(setting, view_names(len(grids))[view]),
            **view_data(grid.frame, grid.grid),
            **regions_data(regionizer.steps, grid),
            **feature_data(grid),
            "setting": place,
            "follows": setting.follows_budget,
            "tokens": self.tokens_of_a_region,
            "classes": bool(self._encoder(setting.encoder).classes) and not setting.tiles,
            "truth": truth_data(grid.frame, humans if is_whole else ()),
            "masks": mask_data(grid.masks) if grid.masks is not None else None,
        }

    def features(self, seen: Seen, number: int) -> np.ndarray:
        """The features of every patch as steps read them, `[n d]` float16."""
        place, view = self.places(seen)[number]
        grid = self._grids(self.settings[place].at(64), seen)[view]
        return as_array(grid.features.flatten(0, -2), "float16")

    def logits(self, seen: Seen, number: int) -> np.ndarray:
        """The classifier's logits of every patch, `[n c]` float16.

        Raises:
            ValueError: If the encoder has no classifier.
        """
        setting = self.settings[self.places(seen)[number][0]]
        encoder = self._encoder(setting.encoder)
        if setting.tiles:
            raise ValueError("the classifier names regions of whole pictures: leave out the tiles")
        if not encoder.classes:
            raise ValueError(f"{setting.encoder} has no classifier that could name regions")

        def logits() -> np.ndarray:
            frames = list(seen.frames) if isinstance(seen, Clip) else [seen]
            with torch.no_grad():
                maps = encoder.logits(frames)
            return as_array(
                torch.stack([one.flatten(0, 1) for one in maps]).flatten(0, 1), "float16"
            )

        return self._once(("logits", seen.key, setting.encoder), logits)

    def classes(self, setting: int) -> list[str]:
        """The names that a setting's classifier knows; none if its encoder has no classifier."""
        return list(self._encoder(self.settings[setting].encoder).classes)

    def _label(self, setting: ViewSetting, view: str) -> dict[str, str]:
        """What is written above the panel of a view."""
        return {
            "encoder": setting.encoder,
            "layer": self._encoder(setting.encoder).layer_name,
            "transforms": setting.transforms,
            "segmenter": setting.segmenter,
            "regions": setting.regions or "patches",
            "view": view,
        }

    def _grids(self, setting: ViewSetting, seen: Seen) -> list[PatchGrid]:
        """The grids of a picture's views with all transforms applied, on the host.

        Frames of a clip are not cut into tiles.
        """
        setting = replace(setting, tiles="") if isinstance(seen, Clip) else setting
        regionizer = self._regionizer(setting)

        def encode() -> list[PatchGrid]:
            with torch.no_grad():
                masks = regionizer.segmenter is not None and isinstance(seen, Picture)
                return regionizer.see(seen, masks=masks)

        return self._once(("grids", seen.key, replace(setting, regions="")), encode)

    def _regionizer(self, setting: ViewSetting) -> Regionizer:
        return Regionizer(
            self._encoder(setting.encoder),
            segmenter=setting.segmenter or None,
            transforms=setting.transforms,
            steps=setting.regions,
            padding=setting.padding,
            tiles=setting.tiles,
            cut=setting.cut,
        )

    def _encoder(self, spec: str) -> Encoder:
        with self._lock:
            if spec not in self._encoders:
                self._encoders[spec] = build_encoder(spec).on(self._device)
            return self._encoders[spec]

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under a key, or what `make` gives; the oldest goes first."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            made: Made = self._kept[key]
            return made


def view_names(count: int) -> list[str]:
    """What the views of a picture are called; the only one has no name.

    >>> view_names(1), view_names(2), view_names(3)
    ([''], ['whole image', 'tiles'], ['whole image', 'tile 1', 'tile 2'])
    """
    if count == 1:
        return [""]
    tiles = ["tiles"] if count == 2 else [f"tile {number}" for number in range(1, count)]
    return ["whole image", *tiles]


def view_data(frame: Frame, grid: Sequence[int]) -> dict[str, Any]:
    """Where the patches lie on the photo."""
    return {"grid": list(grid), "frame": {name: list(pair) for name, pair in asdict(frame).items()}}
