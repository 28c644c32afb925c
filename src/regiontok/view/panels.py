"""Panels: what one setting makes of one picture or clip, as the page gets it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import torch

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.methods import Encoder, Pool
from regiontok.settings import registry
from regiontok.tokenizer.regionizer import Regionizer, build_encoder
from regiontok.system.arrays import as_array
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

    Calls may come from several threads: one at a time works, and what was made a moment ago is
    kept.

    Args:
        settings: the settings, a panel each.
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

    def labels(self) -> list[dict[str, str]]:
        """What is written above each panel."""
        labels = []
        for setting in self.settings:
            encoder = self._encoder(setting.encoder)
            labels.append(
                {
                    "encoder": setting.encoder,
                    "layer": encoder.layer_name,
                    "transforms": setting.transforms,
                    "segmenter": setting.segmenter,
                    "regions": setting.regions or "patches",
                }
            )
        return labels

    @property
    def tokens_of_a_region(self) -> str:
        """ "one" or "patches", as the pool says; "some" of a pool whose number is not known."""
        if self.pool.one_token:
            return "one"
        return "patches" if self.pool.keeps_patches else "some"

    def panel(
        self, seen: Seen, number: int, *, humans: Sequence[np.ndarray] = (), k: int = 64
    ) -> dict[str, Any]:
        """What a setting makes of a picture.

        Args:
            seen: the picture or clip.
            number: which setting.
            humans: label maps that people drew of it, for the covering.
            k: number of regions in the place of `{k}`; other settings do not read it.

        Raises:
            ValueError: If a step or the segmenter cannot do this picture.
        """
        setting = self.settings[number]
        key = ("panel", seen.key, setting, k if setting.follows_budget else 0, len(humans))
        return self._once(key, lambda: self._panel(seen, number, humans, k))

    def _panel(
        self, seen: Seen, number: int, humans: Sequence[np.ndarray], k: int
    ) -> dict[str, Any]:
        setting = self.settings[number]
        regionizer, grid = self._regionizer(setting.at(k)), self._grid(setting.at(k), seen)
        return {
            **self.labels()[number],
            **view_data(grid.frame, grid.grid),
            **regions_data(regionizer.steps, grid),
            **feature_data(grid),
            "follows": setting.follows_budget,
            "tokens": self.tokens_of_a_region,
            "classes": self._is_named(setting.encoder),
            "truth": truth_data(grid.frame, humans),
            "masks": mask_data(grid.masks) if grid.masks is not None else None,
        }

    def features(self, seen: Seen, number: int) -> np.ndarray:
        """The features of every patch as steps read them, `[n d]` float16."""
        grid = self._grid(self.settings[number].at(64), seen)
        return as_array(grid.features.flatten(0, -2), "float16")

    def logits(self, seen: Seen, number: int) -> np.ndarray:
        """The classifier's logits of every patch, `[n c]` float16.

        Raises:
            ValueError: If the encoder has no classifier.
        """
        setting = self.settings[number]
        encoder = self._encoder(setting.encoder)
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

    def classes(self, number: int) -> list[str]:
        """The names that an encoder's classifier knows; none if it has no classifier."""
        return list(self._encoder(self.settings[number].encoder).classes)

    def _is_named(self, encoder: str) -> bool:
        return bool(self._encoder(encoder).classes)

    def _grid(self, setting: ViewSetting, seen: Seen) -> PatchGrid:
        """The grid of a picture with all transforms applied, on the host."""
        regionizer = self._regionizer(setting)
        name = (setting.encoder, setting.transforms, setting.segmenter, setting.padding)

        def encode() -> PatchGrid:
            with torch.no_grad():
                masks = regionizer.segmenter is not None and isinstance(seen, Picture)
                return regionizer.see(seen, masks=masks)[0]

        return self._once(("grid", seen.key, *name), encode)

    def _regionizer(self, setting: ViewSetting) -> Regionizer:
        return Regionizer(
            self._encoder(setting.encoder),
            segmenter=setting.segmenter or None,
            transforms=setting.transforms,
            steps=setting.regions,
            padding=setting.padding,
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


def view_data(frame: Frame, grid: Sequence[int]) -> dict[str, Any]:
    """Where the patches lie on the photo."""
    return {"grid": list(grid), "frame": {name: list(pair) for name, pair in asdict(frame).items()}}
