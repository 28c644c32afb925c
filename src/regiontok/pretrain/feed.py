"""From a recipe's sources to the batches of a rank: pixels, what each region sees, and every head's
labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from regiontok.pretrain.scenes import Scenes, is_scenes
from regiontok.pretrain.schedule import Positions, Timeline
from regiontok.rice.export import MEAN, STD
from regiontok.rice.region_attention import Visible
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews, collate
from regiontok.shards.views import LabelSpace, View, ViewSettings
from regiontok.system.interrupt import ignore_stop_signals
from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

_ANY = 1 << 62  # classes where no head asks for objects, whose labels then do not matter


@dataclass(frozen=True, eq=False)
class Batch:
    """A rank's images of one step.

    Attributes:
        pixels: `[b 3 H W]` uint8.
        visible: of N regions an image.
        labels: head -> `[b N m]`, -1 for none.
        images: "shard 00012, image 7" of each.
        skipped: images passed over, with reasons.
    """

    pixels: UInt8[Tensor, "b 3 H W"]
    visible: Visible
    labels: dict[str, Int[Tensor, "b n m"]]
    images: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, at: slice) -> Batch:
        """Some of the images."""
        visible = replace(self.visible, mask=self.visible.mask[at], counts=self.visible.counts[at])
        return Batch(
            self.pixels[at],
            visible,
            {name: own[at] for name, own in self.labels.items()},
            self.images[at],
        )

    def normalised(self, device: torch.device) -> Float[Tensor, "b 3 H W"]:
        """The pixels as the encoder wants them."""
        mean, std = (
            torch.tensor(values, device=device)[:, None, None] * 255 for values in (MEAN, STD)
        )
        return (self.pixels.to(device, non_blocking=True).float() - mean) / std


@dataclass(frozen=True)
class Tokenize:
    """Text -> token ids; "bytes" are UTF-8's."""

    name: str

    def __call__(self, text: str) -> list[int]:
        if self.name == "bytes":
            return list(text.encode())
        return list(_tokenizer(self.name)(text, add_special_tokens=False)["input_ids"])


_KNOWN: dict[str, object] = {}


def _tokenizer(name: str):
    """Read once a process: workers get the name, not the tokenizer."""
    if name not in _KNOWN:
        _KNOWN[name] = need("transformers", extra="hub").AutoTokenizer.from_pretrained(name)
    return _KNOWN[name]


@dataclass(frozen=True)
class Collate:
    """Views -> `Batch`; what `workers` run."""

    heads: tuple[str, ...]

    def __call__(self, views: Sequence[View]) -> Batch:
        found = collate(views)
        assert found.shares is not None
        is_text = found.kinds[..., None] == 1
        kinds = {
            "object": torch.where(is_text, -1, found.labels)[..., :1],
            "text": torch.where(is_text, found.labels, -1),
        }
        names = tuple(f"{shard} image {index}" for shard, index in found.images)
        visible = Visible.from_masks(list(found.shares))
        return Batch(
            found.pixels, visible, {name: kinds[name] for name in self.heads}, names, found.skipped
        )


def head_names(table: Pretrain) -> tuple[str, ...]:
    """Of the recipe's heads."""
    return tuple(name for name, own in (("object", table.object), ("text", table.text)) if own)


def folder_of(text: str, cache: Path) -> Path:
    """Where the shards of a source are; generated ones are written below `cache` if they are not
    there yet."""
    return Scenes.of(text).shards(cache) if is_scenes(text) else Path(text)


def views(
    table: Pretrain, stage: PretrainStage, patch: int, cache: Path, *, skip: bool = False
) -> ShardViews:
    """The endless stream of views at a stage's size.

    Raises:
        ShardError: no shard, or a damaged one, unless `skip` is set.
        ValueError: generated scenes with labels that the head has no classes for.
    """
    if table.object:
        for one in table.data:
            if (
                is_scenes(one.shards)
                and (made := Scenes.of(one.shards)).classes > table.object.classes
            ):
                raise ValueError(
                    f"{one.shards} has {made.classes} classes, [pretrain.object] only {table.object.classes}"
                )
    kind = None if len(head_names(table)) == 2 else head_names(table)[0]
    sources = [
        ShardSource(folder_of(one.shards, cache), weight=one.weight, kind=kind)
        for one in table.data
    ]  # type: ignore[arg-type]
    text = table.text
    labels = LabelSpace(
        table.object.classes if table.object else _ANY,
        text.classes if text else 0,
        Tokenize(text.tokenizer) if text else None,
    )
    settings = ViewSettings(
        stage.sides,
        table.regions,
        scale=None if table.crop >= 1 else (max(table.crop, 1e-3), 1.0),
        flip=table.flip,
        positives=text.positives if text else 1,
        patch=patch,
    )
    return ShardViews(sources, settings, labels, seed=table.seed, skip=skip)


def batches(
    data: ShardViews,
    timeline: Timeline,
    start: int,
    stop: int,
    heads: tuple[str, ...],
    rank: int,
    ranks: int,
    workers: int,
) -> Iterator[Batch]:
    """This rank's batches of the steps start ... stop - 1, which lie in one stage.

    Raises:
        ValueError: a batch that the ranks cannot share equally.
    """
    stage = timeline.stages[timeline.at(start)[0]]
    if stage.batch % ranks:
        raise ValueError(
            f"stage {stage.name!r}: a batch of {stage.batch} cannot be shared equally by {ranks} processes"
        )
    loader = DataLoader(
        data,
        batch_sampler=Positions(timeline, start, stop, rank, ranks),  # type: ignore[arg-type]
        collate_fn=Collate(heads),
        num_workers=workers,
        worker_init_fn=ignore_stop_signals,
        generator=torch.Generator(),  # nothing is drawn from the state of training
    )
    return iter(loader)
