"""A recipe's sources as folders of shards, and the shards that the first process finds in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from regiontok.miniworld.world import is_world
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.scenes import Scenes, is_scenes
from regiontok.pretrain.world import WorldPictures
from regiontok.shards.sources import FoundShards, ShardSource, find_shards
from regiontok.shards.views import Kind
from regiontok.system.storage import Location, location


def generated(text: str) -> Scenes | WorldPictures | None:
    """The generated source of a text; None for a folder.

    Raises:
        SpecError: If the text is of a generated source and cannot be read.
        ValueError: If there is no such source.
    """
    if is_scenes(text):
        return Scenes.of(text)
    return WorldPictures.of(text) if is_world(text) else None


def source_folder(text: str, cache: Path) -> Location:
    """The folder of a source's shards; generated ones are written below `cache` if need be."""
    source = generated(text)
    return location(text) if source is None else source.shards(cache)


def shard_source(
    shards: str, sidecars: str, cache: Path, *, weight: float = 1.0, kind: Kind | None = None
) -> ShardSource:
    """A recipe's source, whose tars and side-cars may lie in two folders.

    Raises:
        ValueError: If a generated source is given side-cars of another folder.
    """
    if sidecars and generated(shards) is not None:
        raise ValueError(f"{shards} brings its own side-cars; sidecars={sidecars!r} has no place")
    folder = location(sidecars) if sidecars else None
    return ShardSource(source_folder(shards, cache), folder, weight=weight, kind=kind)


def found_by_first(
    sources: Sequence[ShardSource], ranks: Ranks, *, skip: bool
) -> list[FoundShards]:
    """The shards of each source, as the first process finds them."""

    def look() -> str:
        return json.dumps([find_shards(source, skip=skip).to_json() for source in sources])

    texts = json.loads(ranks.from_first(look))
    return [
        FoundShards.from_json(source, text) for source, text in zip(sources, texts, strict=True)
    ]
