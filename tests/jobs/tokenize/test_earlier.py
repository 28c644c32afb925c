"""What stands in an output folder: what is added to it, refused, replaced, and never touched."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from regiontok.data.collect import NamedPath, collect
from regiontok.jobs.show import show_output
from regiontok.jobs.tokenize.command import tokenize
from regiontok.jobs.tokenize.earlier import Writing, wanted_of
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.drawn import is_drawn
from regiontok.system.tensor_files import read_metadata

UNDRAWN = Writing(picture="")
FOUR, NINE = "windows(4)", "merge(k=9)"


def tokenizers(*specs, **settings):
    return TokenizerSet(TokenizerSettings(**{"encoder": "filters(size=56)", **settings}), specs)


@pytest.fixture
def photo(tmp_path):
    """A photo in a folder of its own."""
    return drawn_photo(tmp_path / "photos" / "a.png", 0)


def drawn_photo(path, seed):
    path.parent.mkdir(exist_ok=True, parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def run(made_by, photo, out, *, picture="", **writing):
    """What becomes of one photo."""
    images = collect([str(photo)])
    writing = Writing(picture=picture, **writing)
    (outcome,) = tokenize(made_by, images, out, writing=writing, workers=0)
    return outcome


def bytes_below(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_spec_stands_beside_the_old_ones_and_only_it_is_computed(
    photo, tmp_path, monkeypatch, resume
):
    out = tmp_path / "out"
    run(tokenizers(FOUR), photo, out)
    before = bytes_below(out / "a.png")
    computed = []
    see = TokenizerSet.run

    def noted(self, pictures):
        computed.append(self.specs)
        return see(self, pictures)

    monkeypatch.setattr(TokenizerSet, "run", noted)
    outcome = run(tokenizers(NINE), photo, out, resume=resume)
    assert [entry["spec"] for entry in outcome.report["settings"]] == [NINE]
    assert run(tokenizers(FOUR, NINE), photo, out, resume=True).resumed
    assert computed == [[NINE]]
    after = bytes_below(out / "a.png")
    assert all(after[name] == before[name] for name in before if name != "report.json")
    assert [entry["spec"] for entry, _ in show_output(out / "a.png")] == [FOUR, NINE]


@pytest.mark.slow
def test_the_picture_shows_all_specs_and_is_drawn_without_computing(photo, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(tokenizers(FOUR), photo, out, picture=".webp")
    picture = out / "a.png" / "regions.webp"
    with Image.open(picture) as drawing:
        width = drawing.width
    run(tokenizers(NINE), photo, out)
    monkeypatch.setattr(TokenizerSet, "run", None)
    run(tokenizers(NINE), photo, out, resume=True, picture=".webp")
    with Image.open(picture) as drawing:
        assert drawing.width > 1.3 * width
    assert is_drawn(picture)
    assert run(tokenizers(FOUR, NINE), photo, out, resume=True, picture=".webp").resumed


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"encoder": "filters(size=70)"},
            r"was made with other settings: encoder .filters\(size=56",
        ),
        ({"padding": "keep"}, "was made with other settings: padding 'drop', now 'keep'"),
        ({"pool": "select"}, r"has windows\(4\) with other settings: pool 'mean"),
        ({"transforms": "rms"}, r"has windows\(4\) with other settings: transforms ''"),
    ],
)
def test_other_settings_at_the_same_place_are_refused_unless_they_may_overwrite(
    photo, tmp_path, settings, reason, resume
):
    out = tmp_path / "out"
    run(tokenizers(FOUR, NINE), photo, out)
    (out / "a.png" / "notes.txt").write_text("mine")
    before = bytes_below(out / "a.png")
    error = run(tokenizers(FOUR, **settings), photo, out, resume=resume).error
    with pytest.raises(ValueError, match=rf"a\.png {reason}.*; replace it with --overwrite, or"):
        raise ValueError(error)
    assert error.startswith(f"{photo}: ")
    assert bytes_below(out / "a.png") == before
    outcome = run(tokenizers(FOUR, **settings), photo, out, resume=resume, overwrite=True)
    assert outcome.error is None
    assert not outcome.resumed
    assert run(tokenizers(FOUR, **settings), photo, out, resume=True).resumed
    after = bytes_below(out / "a.png")
    assert after["notes.txt"] == b"mine"
    # what shares nothing with another encoder goes; what only had another spec beside it stays
    assert ("merge-k-9.safetensors" in after) == ("has windows" in reason)


def test_another_weights_identity_is_refused(photo, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(tokenizers(FOUR), photo, out)
    encoder = type(tokenizers(FOUR).encoder)
    monkeypatch.setattr(encoder, "identity", property(lambda self: "other weights"))
    assert "settings: weights 'filters" in run(tokenizers(NINE), photo, out).error


def test_two_photos_of_one_name_in_two_runs_never_overwrite_one_another(photo, tmp_path):
    out = tmp_path / "out"
    other = drawn_photo(tmp_path / "more" / "a.png", 1)
    run(tokenizers(FOUR), photo, out)
    before = bytes_below(out / "a.png")
    assert (
        f"holds the tokens of another picture, {photo}"
        in run(tokenizers(NINE), other, out, resume=True).error
    )
    assert bytes_below(out / "a.png") == before
    copy = tmp_path / "copies" / "a.png"
    copy.parent.mkdir()
    shutil.copy(photo, copy)
    assert run(tokenizers(FOUR), copy, out, resume=True).resumed


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "cut", "zeroed"])
@pytest.mark.parametrize("name", ["windows-4.safetensors", "windows-4.regions.json"])
def test_a_report_whose_files_are_not_whole_is_not_believed(photo, tmp_path, damage, name):
    out = tmp_path / "out"
    run(tokenizers(FOUR, NINE), photo, out)
    before = bytes_below(out / "a.png")
    path = out / "a.png" / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.write_bytes(bytes(path.stat().st_size))
    assert not run(tokenizers(FOUR, NINE), photo, out, resume=True).resumed
    after = bytes_below(out / "a.png")
    assert {key: value for key, value in after.items() if key != "report.json"} == {
        key: value for key, value in before.items() if key != "report.json"
    }
    assert run(tokenizers(FOUR, NINE), photo, out, resume=True).resumed


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_folders_that_nest_keep_one_another(tmp_path, order):
    """A photo `a.png`, and a folder of that name with another photo."""
    photos = [
        NamedPath(drawn_photo(tmp_path / "one" / "a.png", 0), "a.png"),
        NamedPath(drawn_photo(tmp_path / "two" / "a.png" / "b.png", 1), "a.png/b.png"),
    ]
    out = tmp_path / "out"
    for index in (*order, *order):
        (outcome,) = tokenize(tokenizers(FOUR), [photos[index]], out, writing=UNDRAWN)
        assert outcome.error is None
    for photo in photos:
        assert (out / photo.name / "report.json").is_file()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "mine"),
        ("report.json", '{"title": "mine"}'),
        ("report.json", "[1]"),
        ("report.json", '{"key": 1, "settings": [{"spec": "a", "made_by": 1}], "made_by": {}}'),
    ],
)
def test_a_folder_of_other_files_is_refused_also_with_overwrite(photo, tmp_path, name, content):
    folder = tmp_path / "out" / "a.png"
    folder.mkdir(parents=True)
    (folder / name).write_text(content)
    error = run(tokenizers(FOUR), photo, tmp_path / "out", overwrite=True).error
    assert "a.png is there and is no output of tokenize; choose another output folder" in error
    assert bytes_below(folder) == {name: content.encode()}


def test_an_output_of_an_older_release_is_refused_and_replaced_whole(photo, tmp_path):
    folder = tmp_path / "out" / "a.png"
    folder.mkdir(parents=True)
    settings = [{"spec": "merge(0.5)"}, {"spec": "merge(-0.5)"}]
    report = {"key": "0", "fingerprint": "1", "settings": settings}
    (folder / "report.json").write_text(json.dumps(report))
    for stem in ("merge-0.5~862c1727", "merge-0.5~64007873"):
        for ending in (".safetensors", ".regions.json"):
            (folder / f"{stem}{ending}").write_text("old")
    (folder / "regions.png").write_text("old")
    (folder / "notes.txt").write_text("mine")
    error = run(tokenizers(FOUR), photo, tmp_path / "out").error
    assert "was written by an older release, which did not say what made it; replace it" in error
    run(tokenizers(FOUR), photo, tmp_path / "out", overwrite=True)
    assert sorted(os.listdir(folder)) == [
        "notes.txt",
        "report.json",
        "windows-4.regions.json",
        "windows-4.safetensors",
    ]


def test_two_specs_whose_files_would_have_one_name_are_refused():
    contrived = SimpleNamespace(specs=["a('b')", "a | b"])
    with pytest.raises(
        ValueError, match=r"the files of a\('b'\) and of a \| b would have one name"
    ):
        wanted_of(contrived, UNDRAWN)


def test_what_made_it_is_in_every_file(photo, tmp_path):
    settings = {"segmenter": "slic(4)", "transforms": "rms", "norm": "rms"}
    run(tokenizers("segments(0)", **settings), photo, tmp_path / "out")
    folder = tmp_path / "out" / "a.png"
    report = json.loads((folder / "report.json").read_text())
    table = json.loads((folder / "segments-0.regions.json").read_text())
    tokens = json.loads(read_metadata(folder / "segments-0.safetensors")["regiontok"])
    assert tokens == table["made_by"]
    assert tokens == {
        "key": report["key"],
        **report["made_by"],
        **report["settings"][0]["made_by"],
    }
    assert tokens["encoder"].startswith("filters(size=56,")
    assert tokens["weights"].startswith("filters")
    assert tokens["segmenter"].startswith("slic(")
    assert tokens["transforms"].startswith("rms(")
    assert (tokens["pool"], tokens["norm"]) == ("mean(version=1)", "rms")
    assert tokens["regiontok"]


def test_the_index_has_every_image_of_all_runs(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    for seed, name in enumerate(("a.png", "b.png")):
        drawn_photo(folder / name, seed)
    (folder / "bad.png").write_bytes(b"no picture")
    for specs in ([FOUR], [NINE]):
        list(tokenize(tokenizers(*specs), collect([str(folder)]), out, writing=UNDRAWN))
    entries = [json.loads(line) for line in (out / ".index.jsonl").read_text().splitlines()]
    assert [entry["folder"] for entry in entries] == ["a.png", "b.png", "bad.png"]
    assert entries[0] == {
        "image": str(folder / "a.png"),
        "folder": "a.png",
        "error": None,
        "key": json.loads((out / "a.png" / "report.json").read_text())["key"],
        "size": [40, 50],
        "tokens": {FOUR: 4, NINE: 9},
    }
    assert "bad.png" in entries[2]["error"]
    run(tokenizers(FOUR, encoder="filters(size=70)"), folder / "a.png", out)
    refused = json.loads((out / ".index.jsonl").read_text().splitlines()[0])
    assert refused["tokens"] == entries[0]["tokens"]
    assert "--overwrite" in refused["error"]
    shutil.rmtree(out / "b.png")
    run(tokenizers(FOUR), folder / "a.png", out)
    lines = (out / ".index.jsonl").read_text().splitlines()
    assert [json.loads(line)["folder"] for line in lines] == ["a.png", "bad.png"]


def test_a_foreign_file_of_the_indexs_name_is_refused(photo, tmp_path):
    for content in ("mine\n", "[1]\n", '{"folder": 1}\n'):
        (tmp_path / ".index.jsonl").write_text(content)
        with pytest.raises(ValueError, match=r"\.index\.jsonl is there and is no index of tok"):
            run(tokenizers(FOUR), photo, tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".index.jsonl", "photos"]
