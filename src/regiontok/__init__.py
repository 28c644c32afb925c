"""Region tokens for vision-language models: photos in, regions and their tokens out.

What stands in `__all__` is public; the names are imported when they are used.

>>> import regiontok  # loads neither torch nor transformers
>>> regiontok.__all__[:4]
['Clip', 'Frame', 'MaskStore', 'Members']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regiontok.core.clip import Clip
    from regiontok.core.frame import Frame
    from regiontok.core.grid import PatchGrid
    from regiontok.core.masks import PixelMasks
    from regiontok.core.picture import Picture
    from regiontok.core.regions import Members, Regions
    from regiontok.core.tokens import Tokens
    from regiontok.draw.regions import draw_regions
    from regiontok.maskstore.store import MaskStore
    from regiontok.model.processor import RegionVLMProcessor
    from regiontok.model.vlm import RegionVLM
    from regiontok.released.vlm import ReleasedVLM
    from regiontok.settings.recipe import load_recipe
    from regiontok.settings.registry import register
    from regiontok.settings.spec import SpecError
    from regiontok.system.errors import RegiontokError
    from regiontok.tokenizer.head import VisualHead
    from regiontok.tokenizer.region_tokenizer import RegionTokenizer
    from regiontok.tokenizer.regionizer import Regionizer
    from regiontok.tokenizer.run import Run

    __version__: str

__all__ = [
    "Clip",
    "Frame",
    "MaskStore",
    "Members",
    "PatchGrid",
    "Picture",
    "PixelMasks",
    "RegionTokenizer",
    "RegionVLM",
    "RegionVLMProcessor",
    "Regionizer",
    "Regions",
    "RegiontokError",
    "ReleasedVLM",
    "Run",
    "SpecError",
    "Tokens",
    "VisualHead",
    "draw_regions",
    "load_recipe",
    "register",
]

_MODULES = {
    "Clip": "core.clip",
    "Frame": "core.frame",
    "MaskStore": "maskstore.store",
    "Members": "core.regions",
    "PatchGrid": "core.grid",
    "Picture": "core.picture",
    "PixelMasks": "core.masks",
    "RegionTokenizer": "tokenizer.region_tokenizer",
    "RegionVLM": "model.vlm",
    "RegionVLMProcessor": "model.processor",
    "Regionizer": "tokenizer.regionizer",
    "Regions": "core.regions",
    "RegiontokError": "system.errors",
    "ReleasedVLM": "released.vlm",
    "Run": "tokenizer.run",
    "SpecError": "settings.spec",
    "Tokens": "core.tokens",
    "VisualHead": "tokenizer.head",
    "draw_regions": "draw.regions",
    "load_recipe": "settings.recipe",
    "register": "settings.registry",
}


if not TYPE_CHECKING:  # a type checker would take any name for an attribute

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("regiontok")
        elif name in _MODULES:
            from importlib import import_module

            try:
                module = import_module(f"regiontok.{_MODULES[name]}")
            except ImportError as error:
                from regiontok.system.need import MissingPackage, named_extra

                named = named_extra(error)
                if isinstance(named, MissingPackage):
                    raise named from None
                raise
            value = getattr(module, name)
        else:
            raise AttributeError(f"module 'regiontok' has no attribute {name!r}")
        globals()[name] = value  # the next use does not come here again
        return value


def __dir__() -> list[str]:
    dunders = {name for name in globals() if name.startswith("__")}
    return sorted({*__all__, "__version__", *dunders})
