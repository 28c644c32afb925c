"""The stage that describes regions: its rows, its bytes, and images that are set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest

from regiontok.core.picture import Picture
from regiontok.curate import embed
from regiontok.curate.embed import EmbedPiece, embed_stage, features_of
from regiontok.curate.plan import EmbedPlan, ProposePlan
from regiontok.curate.propose import ProposePiece, propose_stage
from regiontok.curate.region_features import RegionImage
from regiontok.curate.run import run_pieces
from regiontok.encoders.filters import Filters
from samples.curation import contents, three_tars
from samples.kept_images import kept, staged

PROPOSE = ProposePlan(segmenter="slic(6)", size=0, shorter_edge=8)
PLAN = EmbedPlan(encoder="filters(size=28, patch=14)", size=28)
DENSE = PLAN.model_copy(update={"by": "dense"})


@pytest.fixture
def proposed(tmp_path):
    """A curation of three tars with its regions."""

    def made(out: str = "out"):
        tars = tmp_path / "tars"
        curation, keep = kept(tars if tars.exists() else three_tars(tars), tmp_path / out)
        stage = propose_stage(curation, PROPOSE, keep)
        return curation, stage, staged(stage, curation, ProposePiece(curation, PROPOSE, keep))

    return made


def embedded(curation, propose, plan=PLAN, **options):
    stage = embed_stage(curation, plan, propose.hash)
    return staged(stage, curation, EmbedPiece(curation, plan, propose), **options)


def vectors(row, width: int) -> np.ndarray:
    return np.frombuffer(row["features"], "<f2").reshape(row["regions"], width)


@pytest.mark.parametrize("plan", [PLAN, DENSE], ids=lambda plan: plan.by)
def test_each_region_has_a_vector_of_length_1_in_the_order_of_its_box(proposed, plan):
    curation, propose, regions = proposed()
    rows = embedded(curation, propose, plan)
    width = features_of(plan).width
    assert (rows["b/0"]["reason"], rows["b/0"]["regions"]) == ("left out", 0)
    picture = Picture.of(curation.index(curation.tars[0]).read(1))
    boxes = np.reshape(regions["a/1"]["boxes"], (-1, 4))
    ((_, expected),) = features_of(plan).of(iter([RegionImage(1, picture, boxes)]))
    found = vectors(rows["a/1"], width)
    assert len(found) == len(boxes) > 1
    assert np.abs(found - expected.numpy()).max() < 5e-4
    assert np.linalg.norm(found.astype(float), axis=1) == pytest.approx(1, abs=2e-3)


def test_the_file_says_the_width(proposed, tmp_path):
    curation, propose, _ = proposed()
    embedded(curation, propose)
    metadata = pq.read_metadata(tmp_path / "out" / "a.embed.parquet").metadata
    assert int(metadata[b"width"]) == features_of(PLAN).width == Filters().width


@pytest.mark.slow
@pytest.mark.parametrize("plan", [PLAN, DENSE], ids=lambda plan: plan.by)
def test_the_same_bytes_in_two_processes_and_in_one(proposed, tmp_path, plan):
    embedded(*proposed("alone")[:2], plan)
    embedded(*proposed("several")[:2], plan, workers=2)
    assert contents(tmp_path / "several") == contents(tmp_path / "alone")


@dataclass(frozen=True)
class FailsOnLarge(Filters):
    """Cannot encode pictures of more than 64 pixels."""

    def encode(self, pictures):
        if any(max(picture.size) > 64 for picture in pictures):
            raise RuntimeError("out of memory")
        return super().encode(pictures)


def test_an_image_that_cannot_be_encoded_is_set_aside(proposed, monkeypatch):
    monkeypatch.setattr(embed, "build_encoder", lambda text: FailsOnLarge())
    curation, propose, _ = proposed()
    rows = embedded(curation, propose, EmbedPlan(encoder="fails", by="dense", size=28))
    assert rows["c/1"] == {
        "index": 1,
        "regions": 0,
        "features": b"",
        "reason": "not encoded: out of memory",
    }
    assert rows["c/2"]["reason"] == ""


def test_regions_of_other_settings_are_refused(proposed):
    curation, propose, _ = proposed()
    other = propose_stage(curation, PROPOSE, "another list")
    work = EmbedPiece(curation, PLAN, other)
    outcomes = list(run_pieces(embed_stage(curation, PLAN, other.hash), curation, work))
    assert outcomes[0].error == "a has no regions of these settings yet: propose comes first"
    assert len({embed_stage(curation, PLAN, stage.hash).hash for stage in (propose, other)}) == 2
    assert (
        embed_stage(curation, DENSE, other.hash).hash
        != embed_stage(curation, PLAN, other.hash).hash
    )
