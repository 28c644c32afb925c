"""Region tokens for vision-language models: photos in, regions and their tokens out.

>>> import regiontok  # imports neither torch nor transformers; names come in when they are used
>>> sorted(regiontok.__all__)[:3]
['Frame', 'Members', 'PatchGrid']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regiontok.core.frame import Frame
    from regiontok.core.grid import PatchGrid
    from regiontok.core.masks import PixelMasks
    from regiontok.core.picture import Picture
    from regiontok.core.regions import Members, Regions
    from regiontok.core.tokens import Tokens
    from regiontok.model.vlm import RegionVLM
    from regiontok.settings.recipe import load_recipe
    from regiontok.settings.registry import register
    from regiontok.tokenizer.head import VisualHead
    from regiontok.tokenizer.region_tokenizer import RegionTokenizer
    from regiontok.tokenizer.regionizer import Regionizer

_WHERE = {
    "Frame": "core.frame",
    "Members": "core.regions",
    "PatchGrid": "core.grid",
    "Picture": "core.picture",
    "PixelMasks": "core.masks",
    "RegionTokenizer": "tokenizer.region_tokenizer",
    "RegionVLM": "model.vlm",
    "Regionizer": "tokenizer.regionizer",
    "Regions": "core.regions",
    "Tokens": "core.tokens",
    "VisualHead": "tokenizer.head",
    "load_recipe": "settings.recipe",
    "register": "settings.registry",
}
__all__ = [
    "Frame",
    "Members",
    "PatchGrid",
    "Picture",
    "PixelMasks",
    "RegionTokenizer",
    "RegionVLM",
    "Regionizer",
    "Regions",
    "Tokens",
    "VisualHead",
    "load_recipe",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'regiontok' has no attribute {name!r}")
    return getattr(import_module(f"regiontok.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
