"""`regiontok masks` as it is typed."""

from __future__ import annotations

from PIL import Image

from regiontok.miniworld.scenes import make_scene
from samples.command_line import closing_line, run


def test_masks_from_the_command_line(tmp_path):
    photos, store = tmp_path / "photos", tmp_path / "s"
    photos.mkdir()
    for seed in range(2):
        Image.fromarray(make_scene(seed, 64).pixels).save(photos / f"{seed}.png")
    words = [photos, "--segmenter", "felzenszwalb", "--out", store]
    assert closing_line(run("masks", *words, "--dry-run"))["images"] == 2
    assert not store.exists()
    result = run("masks", *words)
    assert (result.exit_code, closing_line(result)["done"], closing_line(result)["resumed"]) == (
        0,
        2,
        0,
    ), result.output
    assert closing_line(run("masks", "build", *words))["resumed"] == 2
    assert (
        closing_line(run("masks", "--segmenter", "felzenszwalb", "--out", store, photos))["resumed"]
        == 2
    )
    assert closing_line(run("masks", "info", store))["images"] == 2
    assert closing_line(run("masks", "verify", store))["corrupt"] == []
    assert closing_line(run("masks", "merge", store, "--out", tmp_path / "both"))["images"] == 2
    (photos / "bad.png").write_bytes(b"x")
    result = run("masks", *words)
    assert (result.exit_code, closing_line(result)["set_aside"]) == (1, 1)
    result = run("masks", photos, "--segmenter", "slic", "--out", store)
    assert result.exit_code == 2
    assert "use another folder" in " ".join(result.output.split())
    (shard,) = store.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    result = run("masks", "verify", store)
    assert (result.exit_code, len(closing_line(result)["corrupt"])) == (1, 1)
    assert run("masks", *words).exit_code == 2
    result = run("masks", *words, "--skip-corrupt")
    assert closing_line(result)["resumed"] == 0
    assert "set aside as *.corrupt" in result.output
    tokens = run(
        "tokenize",
        photos / "0.png",
        "--encoder",
        "filters",
        "--segmenter",
        f"stored({str(store)!r})",
        "--regions",
        "segments(0.07)",
        "--no-picture",
        "--out",
        tmp_path / "t",
    )
    assert tokens.exit_code == 0, tokens.output
    assert "verify" in run("masks", "--help").output
