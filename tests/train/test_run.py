"""Runs: stages, what they leave behind, how batches are divided, and how a run ends that cannot go
on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from regiontok.cli.run_tables import training_warnings
from regiontok.core.picture import Picture
from regiontok.data.labels import Labeller
from regiontok.data.record import Turn
from regiontok.data.visual_tokens import VisualTokens
from regiontok.miniworld.scenes import make_scene
from regiontok.model.mini import mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.runs.errors import RunStopped
from regiontok.settings.recipe import to_toml
from regiontok.system.hardware import hardware
from regiontok.system.lease import FolderInUse, folder_lease
from regiontok.train import trainer
from regiontok.train.build import build_model, language_model_commit
from regiontok.train.folder import TrainFolder
from regiontok.train.options import TrainOptions
from regiontok.train.plan import plan_run
from regiontok.train.run import train
from regiontok.train.trainer import StageTrainer
from samples.training import ALIGN, DATA, losses, run_recipe, toy_recipe, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    result = run_recipe(toy_recipe(), out, held_out=2)
    return out, result


def test_a_run_of_two_stages_leaves_models_metrics_and_its_papers(whole):
    out, result = whole
    assert (result["stopped"], result["interrupted"]) == ("", False)
    assert list(result["stages"]) == ["align", "tune"]
    assert [(stage, step) for stage, step, *_ in losses(out)] == [
        (s, n) for s in (1, 2) for n in (1, 2, 3, 4)
    ]
    assert (out / "recipe.toml").read_text() == "as given"
    assert "[[stage]]" in (out / "resolved.toml").read_text()
    papers = json.loads((out / "provenance.json").read_text())[0]
    assert papers["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert papers["seeds"] == {"tokenizer": 0, "align": 42, "tune": 42}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["tune"]["eval_examples"] == 2.0
    assert 0.0 <= metrics["tune"]["eval_exact_match"] <= 1.0
    stages = [entry for entry in TrainFolder(out).entries() if entry["kind"] == "stage"]
    assert stages[0]["set_aside"] == {"held out for evaluation": 2}
    assert stages[0]["parts"]["language_model"][0] == 0
    assert not list((out / ".checkpoints").glob("*"))
    assert not [
        path.name for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")
    ]


def test_a_stage_changes_its_parts_only_and_carries_on_the_one_before(whole):
    out, _ = whole
    first, second = weights(out / "1_align"), weights(out / "2_tune")
    start = build_model(toy_recipe()).model.state_dict()
    assert set(first) == set(second) == set(start)
    for name in start:
        assert name.startswith("head.") or torch.equal(first[name], start[name])
    assert not torch.equal(first["head.norm.weight"], start["head.norm.weight"])
    adapted = [
        name
        for name in first
        if name.startswith("language_model.model.layers")
        and not torch.equal(first[name], second[name])
    ]
    assert len(adapted) == 7  # the seven matrices of the one layer; its norms are not adapted
    untouched = "language_model.model.embed_tokens.weight"
    assert torch.equal(first[untouched], second[untouched])


@pytest.mark.slow
def test_accumulation_gives_the_gradient_of_the_whole_batch(whole, tmp_path):
    """A mean over the supervised tokens of the batch, not of means of passes: answers have
    different lengths."""
    run_recipe(toy_recipe(ALIGN), tmp_path / "one", held_out=2, per_device=1)
    whole_steps = [row for row in losses(whole[0]) if row[0] == 1]
    for (_, _, loss, norm), (_, _, other, other_norm) in zip(
        losses(tmp_path / "one"), whole_steps, strict=True
    ):
        assert loss == pytest.approx(other, abs=2e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)


@pytest.mark.slow
def test_worker_processes_change_nothing(whole, tmp_path):
    run_recipe(toy_recipe(ALIGN), tmp_path / "run", held_out=2, workers=2)
    assert losses(tmp_path / "run") == [row for row in losses(whole[0]) if row[0] == 1]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_and_names_its_batch(tmp_path, monkeypatch):
    training_step = StageTrainer.training_step

    def broken(self, *args, **kwargs):
        loss = training_step(self, *args, **kwargs)
        return loss * math.nan if self.state.global_step == 3 else loss

    monkeypatch.setattr(StageTrainer, "training_step", broken)
    with pytest.raises(
        RunStopped,
        match=r"step 4: the loss is nan .* last good checkpoint is .*checkpoint-3.*: miniworld-\d+",
    ):
        run_recipe(toy_recipe(ALIGN), tmp_path / "run")
    assert list(TrainFolder(tmp_path / "run").checkpoints(0, "align").by_step()) == [3]


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path):
    with folder_lease(tmp_path / "run"), pytest.raises(FolderInUse, match="is being written by"):
        run_recipe(toy_recipe(ALIGN), tmp_path / "run", resume=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (0, r"step 3 is not saved: .*no space is left on the disk; there is no checkpoint before"),
        (1, r"step 4 is not saved: .*no space .*the last good checkpoint is .*checkpoint-3\. Go"),
    ],
)
def test_a_full_disk_ends_the_run_in_one_sentence(tmp_path, monkeypatch, saved, message):
    calls = iter(range(9))

    def save(tensors, path):
        if next(calls) == saved:
            Path(path).write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(tensors, path)

    monkeypatch.setattr(trainer, "save_file", save)
    with pytest.raises(RunStopped, match=message):
        run_recipe(toy_recipe({**ALIGN, "steps": 5}), tmp_path / "run", stop_after=4)
    assert not TrainFolder(tmp_path / "run").checkpoints(0, "align").staging.exists()


@pytest.mark.slow
def test_out_of_memory_says_what_to_lower(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(StageTrainer, "training_step", full)
    with pytest.raises(
        RunStopped,
        match=r"at step 1.*--per-device 2 \(now 4.*checkpointing=true.*max_length \(now 512\)",
    ):
        run_recipe(toy_recipe(ALIGN), tmp_path / "run")


@pytest.fixture
def blank(tmp_path):
    """A source of four pictures with a record each, the third picture blank."""
    blocks = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    photo = np.kron(blocks, np.ones((20, 20, 1), np.uint8))
    rows = []
    for number in range(4):
        pixels = np.full_like(photo, 255) if number == 2 else photo
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        turns = [("human", "<image>\nWhat?"), ("gpt", "ok")]
        conversation = [{"from": speaker, "value": text} for speaker, text in turns]
        rows.append({"id": f"r{number}", "image": f"{number}.png", "conversations": conversation})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return {
        "stage": {**ALIGN, "data": [{"records": str(tmp_path / "rows.json")}], "batch": 1},
        "tokenizer": {
            "encoder": "filters(size=112)",
            "segmenter": "felzenszwalb",
            "regions": "segments(0.07, resolve='smallest') | cover('rest') | split() | merge(k=3)",
        },
    }


@pytest.mark.slow
def test_a_picture_whose_regions_cannot_be_made_is_set_aside_and_named(blank, tmp_path):
    recipe = toy_recipe({**blank["stage"], "steps": 1}, tokenizer=blank["tokenizer"])
    run_recipe(recipe, tmp_path / "run")
    note, stage, *_ = TrainFolder(tmp_path / "run").entries()
    reason = "picture: its regions cannot be made (k=3 regions cannot be reached)"
    assert stage["set_aside"] == {reason: 1}
    assert note["text"].endswith(f"set aside: {reason}; the first is 'r2' (number 2)")
    (plan,) = plan_run(recipe, TrainOptions(), hardware("h100"))
    assert (plan.without_regions, plan.set_aside) == (0.25, {reason: 1})
    assert training_warnings([plan]) == [
        "stage align: the regions of 25.0% of the measured samples with pictures cannot be made; "
        f"they are set aside: {reason}"
    ]


@pytest.mark.slow
def test_regions_that_fail_in_training_name_picture_and_record(blank, tmp_path, monkeypatch):
    """As steps may that draw anew in each epoch."""
    monkeypatch.setattr(
        VisualTokens,
        "_count_together",
        lambda self, pictures: self._counts.update(dict.fromkeys(pictures, 3)),
    )
    recipe = toy_recipe({**blank["stage"], "steps": 4}, tokenizer=blank["tokenizer"])
    with pytest.raises(
        RunStopped, match=r"k=3 regions cannot be reached.*2\.png\);.* The batch: r2\. Leave"
    ):
        run_recipe(recipe, tmp_path / "run")


@pytest.mark.slow
def test_packed_rows_and_cached_features_train(tmp_path):
    stage = {**ALIGN, "pack": True, "max_length": 300, "batch": 2, "steps": None, "epochs": 1.0}
    run_recipe(toy_recipe(stage), tmp_path / "run", cache=str(tmp_path / "features"))
    steps = losses(tmp_path / "run")
    assert 1 <= len(steps) <= 3  # 12 samples of some 60 tokens, two rows of 300 a step
    assert list((tmp_path / "features").rglob("*.safetensors"))


@pytest.mark.slow
def test_the_batch_is_grouped_weighted_and_evaluated_on_the_way(tmp_path):
    stage = {
        **ALIGN,
        "group_by": "length",
        "data": [{"records": DATA, "weight": 0.5}, {"records": DATA.replace("12,", "6,")}],
    }
    run_recipe(
        toy_recipe({**stage, "steps": None}),
        tmp_path / "run",
        held_out=2,
        evaluate_every=1,
        answers=1,
    )
    kinds = [entry["kind"] for entry in TrainFolder(tmp_path / "run").entries()]
    assert kinds.count("eval") == kinds.count("step") + 1
    # half of the first source's, all of the second's: some 11 records in batches of 4
    assert kinds.count("step") == 3


@pytest.mark.slow
def test_a_step_whose_answers_are_all_cut_away_teaches_nothing(tmp_path, caplog):
    stage = {**ALIGN, "max_length": 8, "overflow": "cut", "steps": 2}
    run_recipe(toy_recipe(stage), tmp_path / "cut")
    assert [loss for _, _, loss, _ in losses(tmp_path / "cut")] == [0.0, 0.0]
    assert "no answer of the batch lies within 8 tokens" in caplog.text
    start = build_model(toy_recipe(stage)).model.state_dict()
    trained = weights(tmp_path / "cut" / "1_align")
    assert all(torch.equal(trained[name], start[name]) for name in start)


@pytest.fixture
def read_grids(monkeypatch):
    """The grids of every picture that a model reads, in their order, as (frame, draw, key)."""
    grids_read = []
    read = RegionVLM._see

    def noted(self, *args, **kwargs):
        tokens, grids, trails = read(self, *args, **kwargs)
        grids_read.extend((grid.frame, grid.draw, grid.key) for grid in grids)
        return tokens, grids, trails

    monkeypatch.setattr(RegionVLM, "_see", noted)
    return grids_read


def photos_stage(folder, **changes):
    """A stage on wide pictures, whose frames tell a crop from a letterbox."""
    records = []
    for number in range(8):
        Image.fromarray(make_scene(number, (64, 128)).pixels).save(folder / f"{number}.png")
        turns = [("human", "<image>\nWhat is it?"), ("gpt", "A scene.")]
        turns = [{"from": role, "value": text} for role, text in turns]
        records.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (folder / "records.json").write_text(json.dumps(records))
    data = [{"records": str(folder / "records.json"), "images": str(folder)}]
    return {**ALIGN, "data": data, "steps": 1, **changes}


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_stage_has_its_own_framing_and_the_model_the_encoders(tmp_path, read_grids, cached):
    """LLaVA-1.5 crops pictures in its first stage and pads them in the second."""
    stages = [photos_stage(tmp_path, framing="crop"), photos_stage(tmp_path, name="tune")]
    tokenizer = {"encoder": "filters(size=56, framing='letterbox')", "regions": "windows(2)"}
    recipe = toy_recipe(*stages, tokenizer=tokenizer)
    options = {"cache": str(tmp_path / "cache")} if cached else {}
    run_recipe(recipe, tmp_path / "run", **options)
    crops = [frame.crop for frame, *_ in read_grids]
    assert crops == [(0, 32, 64, 96)] * 4 + [(0, 0, 64, 128)] * 4
    answering = RegionVLM.from_pretrained(tmp_path / "run" / "1_align")
    assert answering.regionizer.encoder.framing == "letterbox"


def test_the_last_stage_has_the_framing_that_answers(tmp_path):
    recipe = toy_recipe({**ALIGN, "framing": "crop"})
    with pytest.raises(ValueError, match="'align' is the last, and the model answers"):
        run_recipe(recipe, tmp_path / "run")


def test_tiles_lay_pictures_out_themselves(tmp_path):
    tokenizer = {"encoder": "filters(size=56)", "tiles": "1x2"}
    recipe = toy_recipe({**ALIGN, "framing": "crop"}, ALIGN | {"name": "b"}, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="'align': tiles lay pictures out themselves"):
        run_recipe(recipe, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_steps_with_a_seed_draw_anew_in_each_epoch(tmp_path, read_grids, cached):
    """Row D10: a random order is another one in every epoch, also of cached features."""
    stage = photos_stage(tmp_path, steps=None, epochs=3.0)
    tokenizer = {"encoder": "filters(size=56)", "regions": "sort('random')"}
    options = {"cache": str(tmp_path / "cache")} if cached else {}
    run_recipe(toy_recipe(stage, tokenizer=tokenizer), tmp_path / "run", **options)
    draws = [draw for _, draw, _ in read_grids]
    assert draws == [0] * 8 + [1] * 8 + [2] * 8
    assert len({key for *_, key in read_grids}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_a_trained_model_is_asked_by_its_template_and_settings(tmp_path, cached):
    """The last stage's template is saved, and what the recipe says about answering."""
    stages = [
        photos_stage(tmp_path, template="plain"),
        photos_stage(tmp_path, name="tune", template="vicuna_v1"),
    ]
    tokenizer = {"encoder": "filters(size=56)", "regions": "windows(2)"}
    answering = {"encoder": "filters(size=56, shuffle=3)", "regions": "sort('random')"}
    recipe = toy_recipe(*stages, tokenizer=tokenizer, inference={"tokenizer": answering})
    options = {"cache": str(tmp_path / "cache")} if cached else {}
    run_recipe(recipe, tmp_path / "run", held_out=2, answers=2, **options)
    picture = Picture.of(tmp_path / "0.png")
    folders = (tmp_path / "run" / "1_align", tmp_path / "run" / "2_tune")
    processors = [RegionVLMProcessor.from_pretrained(folder) for folder in folders]
    question = {"role": "user", "content": "<image>\nWhat is it?"}
    texts = [processor.apply_chat_template([question]) for processor in processors]
    assert texts[0] == "<image>"
    assert texts[1].endswith("USER: <image>\nWhat is it? ")
    prompt = processors[1].prompt_ids([question])
    labeller = Labeller(processors[1].tokenizer, "vicuna_v1")
    assert prompt == labeller.prompt([Turn("user", question["content"])])
    model = RegionVLM.from_pretrained(folders[1])
    assert model.config.answering_settings == recipe.answering != model.config.settings
    assert len(model.see([picture], settings="answering")) == 16


@pytest.mark.slow
def test_tensorboard_gets_the_curve(tmp_path):
    pytest.importorskip("tensorboard")
    run_recipe(toy_recipe({**ALIGN, "steps": 1}), tmp_path / "run", tracker="tensorboard")
    assert list((tmp_path / "run" / "tensorboard" / "1_align").glob("events.*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluate_every": 5}, "evaluation needs records that are held out"),
        ({"save_every": 0}, "save_every is at least 1"),
        ({"held_out": -1}, "held_out is 0 or more"),
        ({"stop_after": 0}, "stop_after is at least 1"),
        ({"device": "banana"}, "unknown device 'banana'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions(**options)


def test_weights_are_divided_by_a_launcher_only(tmp_path):
    with pytest.raises(ValueError, match=r"start it by `accelerate launch .*fsdp2\.yaml"):
        run_recipe(toy_recipe(ALIGN), tmp_path / "run", shard=True)
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device 'cuda': torch finds no GPU here"):
        train(toy_recipe(ALIGN), tmp_path / "run", options=TrainOptions(device="cuda"))
    assert not (tmp_path / "run").exists()


def test_the_commit_of_a_hub_model_is_in_the_provenance(tmp_path, monkeypatch):
    folder = tmp_path / "models--owner--name" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "v1").write_text("0123abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    recipe = toy_recipe(model={"language_model": "owner/name", "revision": "v1"})
    assert language_model_commit(recipe) == "0123abc"
    assert language_model_commit(toy_recipe()) == ""
    assert 'revision = "v1"' in to_toml(recipe)
    assert "revision" not in to_toml(toy_recipe())


def test_a_language_model_that_is_damaged_is_one_error(tmp_path):
    language_model = build_model(toy_recipe()).model.language_model
    mini_tokenizer().save_pretrained(tmp_path / "lm")
    language_model.save_pretrained(tmp_path / "lm")
    file = tmp_path / "lm" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    recipe = toy_recipe(ALIGN, model={"language_model": str(tmp_path / "lm")})
    with pytest.raises(ValueError, match=r"lm: damaged, or of other shapes .*model\.safetensors"):
        run_recipe(recipe, tmp_path / "run")
    file.unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        run_recipe(recipe, tmp_path / "run")  # the start that failed blocks nothing
