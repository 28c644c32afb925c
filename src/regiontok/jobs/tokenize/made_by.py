"""What made the tokens of an image: written into every file, and compared before one is replaced.

Some settings hold for all region specs in one folder: they decide the grid and the features. The
others are a spec's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from regiontok.settings import registry
from regiontok.tokenizer.region_tokenizer import RegionTokenizer

SHARED = ("encoder", "weights", "layer", "decoding", "padding", "tiles", "clip")
VERSION = "regiontok"  # the entry that says which release wrote a file; it decides nothing


def made_by(
    tokenizer: RegionTokenizer, clip_sampling: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything that decides the tokens of a picture, and the release that made them.

    Args:
        tokenizer: what makes the tokens.
        clip_sampling: which frames of a source make the clip; None for an image.
    """
    decisive = json.loads(tokenizer.regionizer.fingerprint)
    settings = tokenizer.settings
    return {
        VERSION: version("regiontok"),
        "encoder": decisive["encoder"],
        "weights": decisive["weights"],
        "layer": tokenizer.regionizer.encoder.layer_name,
        "decoding": decisive["decoding"],
        "padding": decisive["padding"],
        "tiles": decisive["tiles"],
        **({"clip": dict(clip_sampling)} if clip_sampling is not None else {}),
        "regions": decisive["steps"],
        "segmenter": decisive["segmenter"],
        "segmenter_identity": decisive["segmented"],
        "transforms": decisive["transforms"],
        "transforms_identity": decisive["transformed"],
        "norm": settings.norm,
        "partition_on": settings.partition_on,
        "pool": registry.render(tokenizer.pool, full=True),
        "whole": settings.whole,
        "cls": settings.cls,
        "place_features": registry.render_pipeline(tokenizer.place_features, full=True),
        "place_tokens": registry.render_pipeline(tokenizer.place_tokens, full=True),
        "seed": settings.seed,
    }


def shared_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all region specs of a folder have in common."""
    return {key: value for key, value in settings.items() if key in (VERSION, *SHARED)}


def spec_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one region spec."""
    return {key: value for key, value in settings.items() if key not in (VERSION, *SHARED)}


def difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that is not the same, in words; "" if all are.

    >>> difference({"encoder": "lite()"}, {"encoder": "filters()"})
    "encoder 'lite()', now 'filters()'"
    """
    for key in dict.fromkeys((*now, *earlier)):
        if key != VERSION and earlier.get(key) != now.get(key):
            return f"{key} {earlier.get(key)!r}, now {now.get(key)!r}"
    return ""
