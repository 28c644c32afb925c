"""From a recipe's sources to a rank's batches: pixels, visible patches and labels of regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.pretrain.build import head_names
from regiontok.pretrain.label_sets import check_label_sets
from regiontok.pretrain.ranks import Ranks, default_workers
from regiontok.pretrain.schedule import Timeline
from regiontok.pretrain.sized_views import SizedViews, StepSizes
from regiontok.pretrain.sources import found_by_first, generated, shard_source
from regiontok.rice.export import MEAN, STD
from regiontok.rice.visible import Visible
from regiontok.settings.pretrain_recipe import Pretrain, PretrainStage
from regiontok.shards.batch import collate, joined_ids
from regiontok.shards.device_decode import EncodedCrop, decode_crops
from regiontok.shards.loading import load_parts
from regiontok.shards.stream import ShardViews
from regiontok.shards.views import Kind, LabelSpace, View, ViewSettings
from regiontok.system.interrupt import ignore_stop_signals
from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

# classes where no head asks for objects, whose labels then do not matter
ANY_CLASS = 1 << 62


@dataclass(frozen=True, eq=False)
class Batch:
    """A rank's images of one step.

    Attributes:
        pixels: `[b 3 H W]` uint8.
        visible: which patches each of the N regions of an image sees.
        labels: head -> `[b N m]`, -1 for none.
        excluded: head -> `[b N e]`, classes that are no negatives of a region beside its labels.
        images: a name for each image, "00012 image 7".
        skipped: images that were passed over, with reasons.
        encoded: for each image the crop that its pixels are still to be decoded from, or None; ()
            where all are decoded.
    """

    pixels: UInt8[Tensor, "b 3 H W"]
    visible: Visible
    labels: dict[str, Int[Tensor, "b n m"]]
    images: tuple[str, ...]
    excluded: dict[str, Int[Tensor, "b n e"]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    encoded: tuple[EncodedCrop | None, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @classmethod
    def joined(cls, pieces: Sequence[Batch]) -> Batch:
        """The images of several batches, one after the other."""

        def ids(name: str) -> dict[str, Tensor]:
            tables = [getattr(piece, name) for piece in pieces]
            return {head: joined_ids([table[head] for table in tables]) for head in tables[0]}

        return cls(
            pixels=torch.cat([piece.pixels for piece in pieces]),
            visible=Visible.joined([piece.visible for piece in pieces]),
            labels=ids("labels"),
            images=tuple(image for piece in pieces for image in piece.images),
            excluded=ids("excluded"),
            skipped=tuple(reason for piece in pieces for reason in piece.skipped),
        )

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; DataLoader asks for it."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The batch on another device, decoded; from page-locked memory without waiting."""
        moved = self._mapped(lambda tensor: tensor.to(device, non_blocking=True))
        crops = [crop for crop in self.encoded if crop is not None]
        if not crops:
            return replace(moved, encoded=())
        places = [place for place, crop in enumerate(self.encoded) if crop is not None]
        pixels, (height, width) = moved.pixels.clone(), self.pixels.shape[-2:]
        pixels[places] = decode_crops(crops, (height, width), device)
        return replace(moved, pixels=pixels, encoded=())

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            pixels=function(self.pixels),
            visible=replace(self.visible, mask=function(self.visible.mask)),
            labels={name: function(ids) for name, ids in self.labels.items()},
            excluded={name: function(ids) for name, ids in self.excluded.items()},
        )

    def select(self, images: slice) -> Batch:
        """Some of the images, without their labels."""
        visible = replace(
            self.visible, mask=self.visible.mask[images], counts=self.visible.counts[images]
        )
        return Batch(self.pixels[images], visible, {}, self.images[images])

    def normalised(self, device: torch.device) -> Float[Tensor, "b 3 H W"]:
        """The pixels as the encoder expects them."""
        mean, std = (
            torch.tensor(values, device=device)[:, None, None] * 255 for values in (MEAN, STD)
        )
        return (self.pixels.to(device, non_blocking=True).float() - mean) / std


@dataclass(frozen=True)
class TokenizeText:
    """A function from a text to its token ids.

    Attributes:
        name: "bytes" for those of UTF-8, or folder or hub name of a transformers tokenizer.
    """

    name: str

    def __call__(self, text: str) -> list[int]:
        if self.name == "bytes":
            return list(text.encode())
        return list(_tokenizer(self.name)(text, add_special_tokens=False)["input_ids"])


@cache  # once for each process: workers get the name, not the tokenizer
def _tokenizer(name: str) -> Any:
    return need("transformers", extra="hub").AutoTokenizer.from_pretrained(name)


@dataclass(frozen=True)
class CollateViews:
    """A function from views to their batch; worker processes run it.

    Attributes:
        heads: names of the heads that labels are needed for.
        patch: side of a patch in pixels.
    """

    heads: tuple[str, ...]
    patch: int

    def __call__(self, views: Sequence[View]) -> Batch:
        collated = collate(views)
        assert collated.shares is not None
        is_text = collated.kinds[..., None] == 1
        labels = {
            "object": torch.where(is_text, -1, collated.labels)[..., :1],
            "text": torch.where(is_text, collated.labels, -1),
        }
        return Batch(
            pixels=collated.pixels,
            visible=Visible.from_views(
                collated.boxes / self.patch, collated.shares, collated.has_mask
            ),
            labels={name: labels[name] for name in self.heads},
            excluded={name: collated.excluded for name in self.heads if name == "text"},
            images=tuple(f"{shard} image {index}" for shard, index in collated.images),
            skipped=collated.skipped,
            encoded=tuple(view.encoded for view in views),
        )


def stage_views(
    table: Pretrain,
    stage: PretrainStage,
    *,
    patch: int,
    cache: Path,
    ranks: Ranks,
    first: int = 0,
    skip: bool = False,
    encoded: bool = False,
) -> ShardViews:
    """The endless stream of views at a stage's size.

    Args:
        table: the `[pretrain]` table of the recipe.
        stage: the stage.
        patch: side of a patch in pixels.
        cache: folder of generated sources.
        ranks: the processes of the run, of which only the first looks for shards.
        first: the stage's first sample in the stream, from which its steps are counted.
        skip: pass over shards and images that cannot be read.
        encoded: JPEGs are decoded where the batch goes.

    Raises:
        ShardError: If a shard is missing or damaged, and `skip` is not set; in other processes than
            the first it is a `FirstProcessFailed`.
        OtherLabels: If side-cars have labels of another number of classes than the head, or of
            other centroids than one another.
        ValueError: If a generated source has labels that the head has no classes for.
    """
    if table.object:
        for source in table.data:
            pictures = generated(source.shards)
            if pictures is not None and pictures.classes > table.object.classes:
                raise ValueError(
                    f"{source.shards} has {pictures.classes} classes, "
                    f"[pretrain.object] only {table.object.classes}"
                )
    kind = _only_kind(table)
    sources = [
        shard_source(source.shards, source.sidecars, cache, weight=source.weight, kind=kind)
        for source in table.data
    ]
    text = table.text
    labels = LabelSpace(
        table.object.classes if table.object else ANY_CLASS,
        text.classes if text else 0,
        TokenizeText(text.tokenizer) if text else None,
    )
    settings = ViewSettings(
        stage.sides,
        table.regions,
        scale=None if table.crop >= 1 else (max(table.crop, 1e-3), 1.0),
        flip=table.flip,
        positives=text.positives if text else 1,
        patch=patch,
        masks=table.masks,
        encoded=encoded,
    )
    shards = found_by_first(sources, ranks, skip=skip)
    views = SizedViews(sources, settings, labels, seed=table.seed, skip=skip, shards_found=shards)
    views.sizes = StepSizes(stage.all_sides, batch=stage.batch, first=first, seed=table.seed)
    check_label_sets(table, views.shards)
    return views


def _only_kind(table: Pretrain) -> Kind | None:
    """The kind of regions that are read, if there is one head only; None for both kinds."""
    if table.object and table.text:
        return None
    return "object" if table.object else "text"


def rank_batches(
    table: Pretrain,
    views: ShardViews,
    steps: range,
    *,
    timeline: Timeline,
    ranks: Ranks,
    workers: int | None,
) -> Iterator[Batch]:
    """This rank's batches of some steps, which lie in one stage.

    Args:
        table: the `[pretrain]` table of the recipe, which names the heads.
        views: the stage's stream of views.
        steps: the steps.
        timeline: the stages.
        ranks: the processes of the run.
        workers: processes that read images; None for `default_workers`.

    Raises:
        ValueError: If the ranks cannot share the batch equally.
    """
    stage = timeline.stage_of(steps.start)
    if stage.batch % ranks.world:
        raise ValueError(
            f"stage {stage.name!r}: a batch of {stage.batch} cannot be shared equally "
            f"by {ranks.world} processes"
        )
    device = ranks.device
    batches = load_parts(
        views,
        [timeline.samples_of(step) for step in steps],
        CollateViews(head_names(table), views.settings.patch or 1),
        lambda pieces: Batch.joined([piece.to(device) for piece in pieces]),
        rank=ranks.rank,
        ranks=ranks.world,
        workers=default_workers(device) if workers is None else workers,
        pin=device.type == "cuda",
        begin=ignore_stop_signals,
    )
    # one piece is not joined, and has still to be decoded; a batch that is there already stays
    return (batch.to(device) for batch in batches)
