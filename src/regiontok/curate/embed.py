"""The stage that turns regions into the features that are clustered.

After: RICE, section 3.1 (row R1: CLIP's features of the regions' crops).
Differs: see `region_features`. Vectors have length 1, since regions are compared by cosine, and are
stored in 16 bits: no component is off by more than 0.0003.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture, PictureError
from regiontok.curate.kept import LEFT_OUT
from regiontok.curate.plan import EmbedPlan
from regiontok.curate.region_features import (
    CropFeatures,
    DenseFeatures,
    FeaturesFailed,
    RegionFeatures,
    RegionImage,
)
from regiontok.curate.sources import ImageChanged, ImageIndex
from regiontok.curate.stage_files import Stage, is_done, read_rows, write_piece
from regiontok.curate.tars import Curation, CurationError, Piece
from regiontok.curate.threads import one_thread
from regiontok.settings import registry
from regiontok.system.need import need
from regiontok.tokenizer.regionizer import build_encoder

FORM = 1
BY: dict[str, type[RegionFeatures]] = {"crops": CropFeatures, "dense": DenseFeatures}


def embed_stage(curation: Curation, plan: EmbedPlan, reads: str) -> Stage:
    """The stage, of a plan's settings.

    Args:
        curation: what is curated.
        plan: the plan.
        reads: the hash of the stage that proposes regions.

    Raises:
        SpecError: If the encoder's spec cannot be built.
        ValueError: If the encoder has no canvas of the plan's size.
    """
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "regions": pa.int32(),
        "features": pa.binary(),
        "reason": pa.string(),
    }
    features = features_of(plan)
    settings = {
        "by": plan.by,
        "encoder": registry.render(features.encoder, full=True),
        "identity": features.encoder.identity,
        "width": features.width,
    }
    schema = pa.schema(list(columns.items()), {"width": str(features.width)})
    return Stage("embed", FORM, settings, reads, schema)


@cache
def features_of(plan: EmbedPlan) -> RegionFeatures:
    """The features of a plan, whose encoder is built once a process.

    An encoder that cannot be resized keeps its own size.
    """
    encoder = build_encoder(plan.encoder)
    return BY[plan.by](encoder.at_size(plan.size) if encoder.can_resize else encoder)


@dataclass(frozen=True)
class EmbedPiece:
    """Writes a piece of the stage; worker processes get it.

    Attributes:
        curation: what is curated.
        plan: how regions become features.
        propose: the stage that has proposed the regions.
    """

    curation: Curation
    plan: EmbedPlan
    propose: Stage

    def __call__(self, piece: Piece) -> None:
        """Describe the regions of every image of a piece that has some.

        Raises:
            ShardError: If its tar is missing or damaged.
            CurationError: If its regions are missing, damaged, or of other settings.
            UnusableModel: If the encoder's model cannot be loaded.
        """
        start = time.perf_counter()
        numbers = range(piece.start, piece.stop)
        rows = {number: _row(number) for number in numbers}
        images = _Images(self.curation.index(piece.tar), self._proposed(piece), rows)
        with one_thread(), torch.no_grad():
            for number, outcome in features_of(self.plan).of(iter(images)):
                if isinstance(outcome, FeaturesFailed):
                    rows[number] = _row(number, reason=f"not encoded: {outcome.reason}")
                else:
                    rows[number] = _row(number, outcome.cpu().numpy(), "")
        stage = embed_stage(self.curation, self.plan, self.propose.hash)
        write_piece(
            stage, self.curation.out, piece, list(rows.values()), time.perf_counter() - start
        )

    def _proposed(self, piece: Piece) -> list[dict[str, Any]]:
        """The rows of a piece's images that have regions."""
        if not is_done(self.propose, self.curation.out, piece.tar):
            raise CurationError(
                f"{piece.tar.name} has no regions of these settings yet: propose comes first"
            )
        table = read_rows(self.propose, self.curation.out, piece.tar)
        rows = table.slice(piece.start, piece.stop - piece.start).to_pylist()
        return [row for row in rows if row["scores"] and not row["reason"]]


@dataclass(frozen=True, eq=False)
class _Images:
    """The images of a piece, decoded one after the other; one that cannot be is set aside.

    Attributes:
        index: the images.
        proposed: rows of those that have regions.
        rows: the rows that are written, by number.
    """

    index: ImageIndex
    proposed: list[dict[str, Any]]
    rows: dict[int, dict[str, Any]]

    def __iter__(self) -> Iterator[RegionImage]:
        for row in self.proposed:
            number = row["index"]
            try:
                yield self._image(row)
            except ImageChanged as error:
                self.rows[number] = _row(number, reason=f"changed: {error}")
            except PictureError as error:
                self.rows[number] = _row(number, reason=f"corrupt: {error}")

    def _image(self, row: Mapping[str, Any]) -> RegionImage:
        number, size = row["index"], (row["height"], row["width"])
        picture = Picture.of(self.index.read(number), self.index.key(number))
        if picture.size != size:
            raise PictureError(f"{picture.size} pixels, and {size} when regions were proposed")
        boxes = np.reshape(np.array(row["boxes"], np.float32), (-1, 4))
        masks = PixelMasks(size, tuple(row["masks"])) if row["masks"] else None
        return RegionImage(number, picture, boxes, masks)


def _row(number: int, features: np.ndarray | None = None, reason: str = LEFT_OUT) -> dict[str, Any]:
    count, data = 0, b""
    if features is not None:
        count, data = len(features), features.astype("<f2").tobytes()
    return {"index": number, "regions": count, "features": data, "reason": reason}
