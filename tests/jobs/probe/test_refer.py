"""The referring probe as a job: exact resume, refusals, scores, and masks that never look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from regiontok.jobs.probe.refer import mean_rows, probe_refer
from regiontok.jobs.probe.refer_plan import ReferData, ReferProbe
from regiontok.model.mini import mini_tokenizer
from regiontok.probe.options import ProbeOptions
from regiontok.probe.refer.build import SmallSizes, small_canvas
from regiontok.probe.refer.mask_head import tiny_sam
from regiontok.probe.refer.recipes import RECIPES
from regiontok.runs.errors import OtherRun
from regiontok.settings.recipe import TokenizerSettings
from samples.models import mini_vlm, save_clip_tower

ENCODER = "filters(size=64, patch=16)"


def _probe(out: Path, **changes: Any) -> ReferProbe:
    options = {"save_every": 1, "device": "cpu", **changes.pop("options", {})}
    probe = ReferProbe(
        encoders=(ENCODER,),
        recipe=RECIPES["mini"].but(steps=3, rows=2),
        data=ReferData(pictures=2, test_pictures=2, expressions=3),
        out=out,
        sizes=SmallSizes(width=32, layers=1, heads=2),
        options=ProbeOptions(**options),
    )
    return replace(probe, **changes)


def test_a_killed_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    report, shown = probe_refer(_probe(tmp_path / "whole"))
    stopped, _ = probe_refer(_probe(tmp_path / "parts", options={"stop_after": 1}))
    assert stopped["stopped"].startswith("after step 1 of 3")
    resumed, _ = probe_refer(_probe(tmp_path / "parts", resume=True))
    assert resumed["rows"] == report["rows"]
    whole, parts = (
        next((tmp_path / name).glob("*/seed-0/checkpoints/step-3/learned.safetensors"))
        for name in ("whole", "parts")
    )
    assert whole.read_bytes() == parts.read_bytes()
    assert [row["encoder"] for row in report["rows"]] == [
        "blind: whole picture",
        "blind: mean mask",
        ENCODER,
    ]
    written = json.loads((tmp_path / "whole" / "scores.json").read_text())
    assert written["rows"] == report["rows"]
    assert [subject for subject, _ in shown] == [ENCODER]
    with pytest.raises(OtherRun, match="is of another run: recipe"):
        probe_refer(_probe(tmp_path / "whole", recipe=RECIPES["mini"].but(steps=4), resume=True))
    folder = whole.parents[3]
    folder.rename(folder.with_name("lite_size=64"))
    with pytest.raises(OtherRun, match=r"encoder\.spec was \"filters"):
        probe_refer(_probe(tmp_path / "whole", encoders=("lite(size=64)",), resume=True))


def test_seeds_are_averaged() -> None:
    def row(seed: int, value: float) -> dict[str, Any]:
        scores = {"ciou": [value, value - 9, value + 9]}
        return {"encoder": "lite", "seed": seed, "scores": scores, "by_kind": {"name": value}}

    (one,) = mean_rows([row(0, 20.0)])
    assert one["scores"] == {"ciou": [20.0, 11.0, 29.0]}
    (two,) = mean_rows([row(0, 20.0), row(1, 30.0)])
    assert two["scores"] == {"ciou": [25.0, 20.0, 30.0]}
    assert two["by_kind"] == {"name": 25.0}


@pytest.mark.slow
def test_saved_models_learn_by_both_recipes(tmp_path: Path) -> None:
    """A region VLM and a SAM of one's own: [SEG] joins the vocabulary, and a step is taken."""
    vlm, sam = tmp_path / "vlm", tmp_path / "sam"
    mini_vlm(TokenizerSettings(encoder=ENCODER, regions="windows(2)")).save_pretrained(vlm)
    mini_tokenizer().save_pretrained(vlm)
    tiny_sam(side=64, width=32, layers=1).save_pretrained(sam)
    small_canvas(64).processor.save_pretrained(sam)
    changes = {"encoders": (), "vlm": vlm, "sam": str(sam)}
    lisa = RECIPES["lisa"].but(steps=1, rows=2, batches=2)
    report, _ = probe_refer(_probe(tmp_path / "lisa", recipe=lisa, **changes))
    assert [row["encoder"] for row in report["rows"]][2:] == [str(vlm)]
    learned = next((tmp_path / "lisa").glob("*/seed-0/checkpoints/step-1/learned.safetensors"))
    shapes = {name: list(value.shape) for name, value in load_file(learned).items()}
    (embeddings,) = (
        shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")
    )
    assert embeddings == [261, 24]
    assert not any(".vision_encoder." in name for name in shapes)
    mlcd = RECIPES["mlcd"].but(steps=1, rows=2, batches=1)
    with pytest.raises(ValueError, match=r"trains the encoder, and .* holds none"):
        probe_refer(_probe(tmp_path / "mlcd", recipe=mlcd, **changes))
    rest = replace(mlcd, learns=mlcd.learns[1:], factors=())
    report, _ = probe_refer(_probe(tmp_path / "mlcd", recipe=rest, **changes))
    assert report["rows"][2]["loss"] > 0


@pytest.mark.slow
def test_a_tower_learns_at_a_tenth_of_the_rate(tmp_path: Path) -> None:
    """The authors' recipe, one step: AdamW's first step moves a weight by the rate."""
    clip = save_clip_tower(
        tmp_path / "clip",
        side=42,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        patch_size=14,
    )
    vlm, sam = tmp_path / "vlm", tmp_path / "sam"
    settings = TokenizerSettings(encoder=f"transformers({str(clip)!r}, layer=-2)", padding="keep")
    mini_vlm(settings, tune_encoder=True).save_pretrained(vlm)
    mini_tokenizer().save_pretrained(vlm)
    tiny_sam(side=64, width=32, layers=1).save_pretrained(sam)
    small_canvas(64).processor.save_pretrained(sam)
    recipe = RECIPES["mlcd"].but(steps=1, rows=2, batches=2)
    probe = _probe(
        tmp_path / "out", recipe=recipe, encoders=(), vlm=vlm, sam=str(sam), options={"cache": ""}
    )
    begun = dict(probe.build(str(vlm), 0).model.named_parameters())
    probe_refer(probe)
    learned = load_file(next(probe.out.glob("*/seed-0/checkpoints/step-1/learned.safetensors")))
    for part, rate in (("vlm.vision.", 2e-6), ("vlm.language_model.", 2e-5), ("masks.", 2e-5)):
        moved = [
            float((learned[name] - value.detach()).abs().max())
            for name, value in begun.items()
            if name.startswith(part) and name in learned
        ]
        assert moved
        assert 0.9 * rate < max(moved) < 1.2 * rate, part


def test_a_released_model_is_refused(tmp_path: Path) -> None:
    """`from_vlm` trains nothing: only a model of ours learns to answer [SEG]."""
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    probe = _probe(tmp_path / "out", encoders=(), vlm=tmp_path, sam="sam")
    with pytest.raises(ValueError, match="holds a 'llava' model, not a 'regiontok_vlm' one"):
        probe_refer(probe)
