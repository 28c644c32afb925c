"""Collections of a few small photos, as tests of the viewer show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from regiontok.view.collection import Collection
from regiontok.view.library import Library
from regiontok.view.panels import PanelMaker
from regiontok.view.settings import settings_of

ENCODER = "filters(size=128)"  # 9 x 9 patches
REGIONS = "merge(0.9) | sort('com')"


def write_photo(path: Path, seed: int = 0) -> Path:
    """Write a small photo of a few flat areas and a little noise."""
    rng = np.random.default_rng(seed)
    pixels = np.full((60, 90, 3), rng.integers(40, 90), np.uint8)
    pixels[10:40, 15:50] = rng.integers(120, 250, 3)
    pixels[30:55, 45:85] = rng.integers(60, 250, 3)
    noisy = pixels + rng.integers(0, 5, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.astype(np.uint8)).save(path)
    return path


def collection_of(
    paths: Sequence[Path], *, regions: Sequence[str] = (REGIONS,), **options: Any
) -> Collection:
    """A collection with a cheap encoder.

    Args:
        paths: what is shown.
        regions: region specs, a panel each.
        **options: of `Collection`.
    """
    maker = PanelMaker(settings_of([ENCODER], list(regions), segmenter="felzenszwalb"))
    return Collection(Library(paths), maker, **options)


def write_run(folder: Path) -> Path:
    """Write the folder of a training run that has taken a few steps."""
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text("[]")
    (folder / "resolved.toml").write_text("")
    entries: list[dict[str, Any]] = [{"stage": 1, "kind": "stage", "step": 0, "name": "alignment"}]
    for step in range(1, 40):
        loss = 4 / step**0.5
        entries.append(
            {"stage": 1, "kind": "step", "step": step, "loss": loss, "learning_rate": 1e-3}
        )
        if step % 10 == 0:
            match = {"eval_loss": loss + 0.1, "eval_exact_match": step / 50}
            entries.append({"stage": 1, "kind": "eval", "step": step, **match})
    lines = [json.dumps(entry) for entry in entries]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_model(folder: Path) -> Path:
    """Save a tiny model of random weights that talks about photos."""
    processor = RegionVLMProcessor(mini_tokenizer())
    torch.manual_seed(0)
    model = RegionVLM.from_parts(
        mini_language_model(width=32, layers=2, heads=4),
        TokenizerSettings(encoder=ENCODER, regions="merge(k=5)"),
        image_token_id=processor.tokenizer.image_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
