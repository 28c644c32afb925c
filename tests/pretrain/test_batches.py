"""A rank's batches: what its regions see, and their labels."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.picture import PictureError
from regiontok.pretrain.batches import Batch, CollateViews, rank_batches, stage_views
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.schedule import Timeline
from regiontok.rice.visible import Visible
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.random_view import draw_view
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar
from regiontok.shards.views import LabelSpace, ViewSettings

LABELS = LabelSpace(classes=9, vocabulary=256, tokenize=str.encode)


def test_a_text_line_below_half_a_patch_sees_its_whole_line_in_training_as_in_use():
    """Patches of 16 pixels: the line is 6.4 pixels high and 64 long, within a row of patches."""
    line = [[0.0, 20.0, 64.0, 26.4]]
    row = ImageRegions(0, "a", (64, 64), line, texts=["STATION"])
    with io.BytesIO() as file:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, "png")
        data = file.getvalue()
    settings = ViewSettings((64, 64), regions=1, scale=None, positives=4, patch=16)
    view = draw_view(row, lambda: data, settings, LABELS, np.random.default_rng(0), shard="s")
    batch = CollateViews(("text",), patch=16)([view])
    assert batch.visible.mask.view(4, 4).int().tolist() == [
        [0, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert torch.equal(
        batch.visible.mask, Visible.from_boxes([torch.tensor(line) / 16], (4, 4)).mask
    )
    ids = sorted(set(b"STATION"))
    assert sorted(batch.labels["text"][0, 0].tolist() + batch.excluded["text"][0, 0].tolist()) == [
        *ids
    ]


def jpeg(seed: int, size=(96, 128)) -> bytes:
    """Smooth random colours."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    with io.BytesIO() as file:
        small.resize(size[::-1], Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        return file.getvalue()


def views_of(files: list[bytes], encoded: bool) -> list:
    settings = ViewSettings((32, 32), regions=1, positives=1, patch=16, encoded=encoded)
    row = ImageRegions(0, "a", (96, 128), [[8.0, 8.0, 120.0, 90.0]], labels=[3])
    return [
        draw_view(
            row, partial(bytes, data), settings, LABELS, np.random.default_rng(seed), shard="s"
        )
        for seed, data in enumerate(files)
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_the_device_decodes_is_what_the_workers_decode(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    files = [jpeg(seed) for seed in range(4)]
    with io.BytesIO() as file:
        Image.open(io.BytesIO(files[0])).save(file, "PNG")
        files.append(file.getvalue())  # decoded by the worker
    collate = CollateViews(("object",), patch=16)
    whole = collate(views_of(files, False))
    encoded = views_of(files, True)
    pieces = [collate(encoded[:2]), collate(encoded[2:])]
    batch = Batch.joined([piece.to(torch.device(device)) for piece in pieces])
    assert {view.flipped for view in encoded} == {True, False}
    assert (pieces[1].pixels[:2] == 0).all()
    assert (pieces[1].pixels[2] != 0).any()
    assert batch.encoded == ()
    difference = (batch.pixels.cpu().int() - whole.pixels.int()).abs()
    assert difference.float().mean() < 1
    assert torch.equal(batch.visible.mask.cpu(), whole.visible.mask)


def test_a_jpeg_that_the_device_cannot_decode_is_named():
    data = jpeg(0)
    views = views_of([data[: len(data) // 4]], True)
    with pytest.raises(PictureError, match=r"s, image 0 \(a\)"):
        CollateViews((), patch=16)(views).to(torch.device("cpu"))


def test_a_batch_that_is_one_piece_is_decoded_too(tmp_path):
    tar = tmp_path / "a.tar"
    write_tar(tar, [("a.jpg", jpeg(0))])
    row = ImageRegions(0, "a", (96, 128), [[8.0, 8.0, 120.0, 90.0]], labels=[3])
    write_sidecar(tar, [row], config={})
    stage = {"name": "a", "size": 32, "steps": 1, "batch": 1}
    table = Pretrain.model_validate(
        {"data": [{"shards": str(tmp_path)}], "object": {"classes": 9}, "stage": [stage]}
    )
    ranks, timeline = Ranks(0, 1, torch.device("cpu")), Timeline(table.stage)
    views = stage_views(table, table.stage[0], patch=16, cache=tmp_path, ranks=ranks, encoded=True)
    batches = rank_batches(table, views, range(1), timeline=timeline, ranks=ranks, workers=0)
    (batch,) = batches
    assert batch.encoded == ()
    assert (batch.pixels != 0).any()
