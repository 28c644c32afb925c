"""The loop: it resumes to the bit, on any number of ranks, stops at NaN, and learns."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regiontok.core.picture import Picture
from regiontok.measures.token_distances import pair_distances
from regiontok.pretrain import build, checkpoint, loop, step
from regiontok.pretrain.build import build_learner
from regiontok.pretrain.checkpoint import check_shapes
from regiontok.pretrain.options import PretrainOptions
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.run import pretrain
from regiontok.pretrain.state_files import OtherCheckpoint
from regiontok.rice.class_head import RowGradient
from regiontok.runs.errors import NoWholeCheckpoint, OtherRun, RunStopped
from regiontok.settings.recipe import load_recipe
from regiontok.shards.tar import ShardError
from regiontok.system.lease import FolderInUse, folder_lease
from samples.pretraining import RECIPE, interrupt_after, kill_after, recipe_file, run, steps_of

CPU = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """A folder for the recipe and the generated data of all tests here."""
    folder = tmp_path_factory.mktemp("pretrain")
    recipe_file(folder)
    return folder


def train(shared: Path, out: Path, *overrides: str, resume: bool = False, **words):
    options = PretrainOptions(
        device="cpu", cache=str(shared / "cache"), **{"save_every": 3, **words}
    )
    return pretrain(
        load_recipe(shared / "small.toml", overrides=overrides),
        out,
        options=options,
        resume=resume,
        recipe_text=RECIPE,
    )


@pytest.fixture(scope="module")
def plain(shared, tmp_path_factory) -> Path:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(shared, out)
    return out


@pytest.fixture(scope="module")
def stopped(shared, tmp_path_factory) -> Path:
    """A run with checkpoints of steps 3 and 4."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    train(shared, out, stop_after=4)
    return out


class TestOneProcess:
    def test_a_run_leaves_a_log_checkpoints_and_an_encoder(self, plain):
        entries = [json.loads(line) for line in (plain / "log.jsonl").read_text().splitlines()]
        stages, steps, evaluations = (
            [entry for entry in entries if entry["kind"] == kind]
            for kind in ("stage", "step", "eval")
        )
        assert [entry["step"] for entry in steps] == list(range(1, 11))
        assert [(entry["name"], entry["size"]) for entry in stages] == [
            ("low", [32, 32]),
            ("high", [32, 64]),
        ]
        step = steps[0]
        assert {
            "loss_object",
            "loss_text",
            "rho_object",
            "usage_text",
            "norm",
            "norm_centres",
            "images_per_second",
        } <= set(step)
        assert step["loss"] == pytest.approx(step["loss_object"] + step["loss_text"], rel=1e-5)
        assert 0.3 < step["rho_object"] < 0.7
        assert sorted(path.name for path in (plain / "checkpoints").iterdir()) == [
            "step-10",
            "step-9",
        ]
        assert [entry["step"] for entry in evaluations] == [0, 4, 8, 10]
        assert sum(evaluations[0]["distances"]) == pytest.approx(1, abs=1e-4)
        assert 0 <= evaluations[0]["knn_patches"] <= evaluations[0]["knn_best"] <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "steps", [5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 6, 7))]
    )
    def test_stopped_anywhere_and_resumed_is_the_same_to_the_last_bit(
        self, shared, plain, tmp_path, steps
    ):
        stopped = train(shared, tmp_path / "run", stop_after=steps)["stopped"]
        assert stopped == f"after step {steps} of 10; go on with --resume"
        assert not train(shared, tmp_path / "run", resume=True)["stopped"]
        assert steps_of(tmp_path / "run") == steps_of(plain)
        weights = [
            (out / "encoder" / "model.safetensors").read_bytes()
            for out in (plain, tmp_path / "run")
        ]
        assert weights[0] == weights[1]

    def test_a_run_goes_on_with_another_plan_and_a_head_less_and_says_so(
        self, shared, stopped, tmp_path
    ):
        out = shutil.copytree(stopped, tmp_path / "run")
        changes = ["pretrain.every_stage.learning_rate=1e-4", "pretrain.text=false"]
        assert train(shared, out, *changes, resume=True, stop_after=1)["step"] == 5
        entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        notes = [entry["text"] for entry in entries if entry["kind"] == "note"]
        assert any("learning_rate = 0.001', now" in note for note in notes)
        assert entries[-1]["rate"] == pytest.approx(5e-5)  # half of the way down
        assert "loss_text" in next(entry for entry in entries if entry["kind"] == "step")
        assert "loss_text" not in entries[-1]
        with pytest.raises(OtherRun, match=r"there 'pretrain.seed = 0', now 'pretrain.seed = 1'"):
            train(shared, out, *changes, "pretrain.seed=1", resume=True)

    @pytest.mark.slow
    def test_a_signal_ends_the_run_behind_its_step_with_a_checkpoint(self, shared, plain, tmp_path):
        def signalled(entry):
            if entry["step"] == 5 and entry["kind"] == "step":
                signal.raise_signal(signal.SIGTERM)

        options = PretrainOptions(device="cpu", cache=str(shared / "cache"), save_every=3)
        recipe = load_recipe(shared / "small.toml")
        result = pretrain(
            recipe, tmp_path / "run", options=options, recipe_text=RECIPE, tell=signalled
        )
        assert result == {
            "step": 5,
            "stopped": "asked to, after step 5 of 10; go on with --resume",
            "interrupted": True,
        }
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert not train(shared, tmp_path / "run", resume=True)["stopped"]
        assert steps_of(tmp_path / "run") == steps_of(plain)

    @pytest.mark.slow
    def test_several_passes_are_one_batch(self, shared, plain, tmp_path):
        train(shared, tmp_path / "run", per_device=5)
        for whole, parts in zip(steps_of(plain), steps_of(tmp_path / "run"), strict=True):
            assert parts.get("loss", 0) == pytest.approx(whole.get("loss", 0), rel=1e-4)

    @pytest.mark.slow
    def test_bfloat16_is_the_same_curve_coarsely(self, shared, plain, tmp_path, monkeypatch):
        """What a GPU does, here on the CPU: autocast around the encoder, bfloat16 products in the
        class centres."""
        for module in (loop, step, build):
            monkeypatch.setattr(module, "computes_in_bfloat16", lambda table, ranks: True)
        train(shared, tmp_path / "run", stop_after=4)
        pairs = list(zip(steps_of(plain)[:6], steps_of(tmp_path / "run"), strict=True))
        for whole, half in pairs:
            assert half.get("loss", 0) == pytest.approx(whole.get("loss", 0), rel=0.03)
        assert any(half.get("loss") != whole.get("loss") for whole, half in pairs)

    @pytest.mark.slow
    def test_compiled_blocks_are_the_same_curve(self, shared, plain, tmp_path):
        train(shared, tmp_path / "run", compile_blocks=True, stop_after=4)
        for whole, parts in zip(steps_of(plain)[:6], steps_of(tmp_path / "run"), strict=True):
            assert parts.get("loss", 0) == pytest.approx(whole.get("loss", 0), rel=1e-4)
            assert parts.get("knn", 0) == pytest.approx(whole.get("knn", 0), abs=0.05)

    @pytest.mark.slow
    def test_a_stage_of_several_sizes_trains_and_goes_on(self, shared, tmp_path):
        overrides = ["pretrain.stage=[{name='m', sizes=[32, [32, 64]], steps=6, batch=4}]"]
        overrides += ["pretrain.evaluate.shards=''"]
        train(shared, tmp_path / "whole", *overrides)
        train(shared, tmp_path / "run", *overrides, stop_after=2)
        train(shared, tmp_path / "run", *overrides, resume=True)
        steps = steps_of(tmp_path / "whole")
        assert {tuple(entry["size"]) for entry in steps} == {(32, 32), (32, 64)}
        assert steps_of(tmp_path / "run") == steps

    @pytest.mark.slow
    def test_workers_change_nothing(self, shared, plain, tmp_path):
        train(shared, tmp_path / "run", workers=1, stop_after=4)
        assert steps_of(tmp_path / "run") == steps_of(plain)[:6]

    @pytest.mark.slow
    def test_resuming_what_is_done_does_nothing(self, shared, plain):
        before = (plain / "log.jsonl").read_text()
        assert train(shared, plain, resume=True) == {
            "step": 10,
            "stopped": "",
            "interrupted": False,
        }
        assert (plain / "log.jsonl").read_text() == before

    def test_the_encoder_is_one_of_transformers_and_of_this_project(self, plain):
        transformers = pytest.importorskip("transformers")
        from regiontok.rice.export import load_regions
        from regiontok.settings import registry

        ours = load_regions(plain / "encoder").eval()
        theirs = transformers.MLCDVisionModel.from_pretrained(plain / "encoder").eval()
        pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.allclose(ours(pixels).tokens, theirs(pixels).last_hidden_state, atol=1e-5)
        (grid,) = registry.build("encoder", f"transformers({str(plain / 'encoder')!r})").encode(
            [Picture.of(torch.zeros(64, 64, 3).byte().numpy())]
        )
        assert grid.grid == (8, 8)


class TestRefusals:
    @pytest.mark.slow
    def test_a_loss_that_is_not_finite_stops_before_anything_is_changed(
        self, shared, tmp_path, monkeypatch
    ):
        compute_gradients = step.compute_gradients

        def broken(learner, batch, step, **options):
            result = compute_gradients(learner, batch, step, **options)
            return replace(result, loss=result.loss * float("nan")) if step == 4 else result

        monkeypatch.setattr(step, "compute_gradients", broken)
        with pytest.raises(
            RunStopped,
            match=r"step 5: the loss is nan.*checkpoints/step-3\. "
            r"The batch: samples 48 to 59.*image \d",
        ):
            train(shared, tmp_path / "run")
        assert [entry["step"] for entry in steps_of(tmp_path / "run") if "loss" in entry] == [
            1,
            2,
            3,
            4,
        ]
        monkeypatch.undo()
        assert not train(shared, tmp_path / "run", resume=True)["stopped"]

    def test_a_step_that_leaps_is_left_out_where_the_recipe_says_so(
        self, shared, tmp_path, monkeypatch
    ):
        compute_gradients = step.compute_gradients

        def broken(learner, batch, number, **options):
            result = compute_gradients(learner, batch, number, **options)
            factor = {1: float("nan"), 3: 100.0}.get(number, 1.0)
            return replace(result, loss=result.loss * factor)

        monkeypatch.setattr(step, "compute_gradients", broken)
        overrides = ["pretrain.spikes={policy='skip', factor=3.0, window=2}"]
        overrides += ["pretrain.evaluate.shards=''"]
        train(shared, tmp_path / "run", *overrides, stop_after=5)
        entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
        assert [entry["step"] for entry in entries if entry["kind"] == "step"] == [1, 3, 5]
        notes = [entry["text"] for entry in entries if entry["kind"] == "note"]
        assert notes[0].startswith("step 2 is left out: its loss is nan, not finite; 0")
        assert "above 3 times" in notes[1]

    def test_a_checkpoint_of_another_k_is_refused(self, shared, plain, tmp_path):
        with pytest.raises(OtherRun, match=r"classes = 64.*now .*classes = 65"):
            train(shared, plain, "pretrain.object.classes=65", resume=True)
        folder = plain / "checkpoints" / "step-10"
        about = json.loads((folder / "about.json").read_text())
        check_shapes(folder, about)
        with pytest.raises(
            OtherCheckpoint, match="classes of object = 64, this run of classes of object = 65"
        ):
            check_shapes(folder, about | {"classes of object": 65})

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("pretrain.object.classes=39", "has 40 classes, .* only 39"),
            ("pretrain.model.vit=b17", "no size 'b17'"),
            ("pretrain.every_stage.size=30", "not made of whole patches of 8"),
            ("pretrain.loss.rho=0.0", "rho is the share"),
        ],
    )
    def test_recipes_that_cannot_be_trained(self, shared, tmp_path, override, message):
        with pytest.raises(ValueError, match=message):
            train(shared, tmp_path / "run", override)

    def test_a_folder_in_use(self, shared, plain):
        with pytest.raises(ValueError, match="holds a run already: go on with --resume"):
            train(shared, plain)

    def test_a_folder_in_which_another_process_pretrains_is_refused(self, shared, tmp_path):
        with folder_lease(tmp_path / "run"), pytest.raises(FolderInUse, match="being written by"):
            train(shared, tmp_path / "run", resume=True)

    def test_a_start_that_failed_before_a_step_is_no_run(self, shared, tmp_path):
        with pytest.raises(ShardError, match="nowhere: no shard"):
            train(shared, tmp_path / "run", "pretrain.data=[{shards='nowhere'}]")
        assert train(shared, tmp_path / "run", stop_after=1)["step"] == 1

    def test_a_folder_of_something_else_is_left_alone(self, shared, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        for resume in (False, True):
            with pytest.raises(ValueError, match="is not empty and holds no run"):
                train(shared, tmp_path, resume=resume)


class Executed:
    """Pickled, it is code that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestCheckpoints:
    def test_nothing_of_a_checkpoint_is_pickled(self, stopped):
        names = {path.name for path in (stopped / "checkpoints" / "step-4").iterdir()}
        assert names == {"about.json", "files.json", "rank-0.safetensors"}

    @pytest.mark.slow
    @pytest.mark.parametrize("harm", ["cut", "missing", "zeroed", "pickled"])
    def test_a_damaged_checkpoint_is_set_aside_aloud_and_the_one_before_it_taken(
        self, shared, plain, stopped, tmp_path, harm
    ):
        out = shutil.copytree(stopped, tmp_path / "run")
        file = out / "checkpoints" / "step-4" / "rank-0.safetensors"
        content = file.read_bytes()
        if harm == "cut":
            file.write_bytes(content[:-1])
        elif harm == "missing":
            file.unlink()
        elif harm == "zeroed":
            file.write_bytes(content[:-8] + bytes(8))
        else:
            file.write_bytes(pickle.dumps(Executed(tmp_path / "executed"), 2))
        told: list[dict] = []
        options = PretrainOptions(device="cpu", cache=str(shared / "cache"), save_every=3)
        pretrain(
            load_recipe(shared / "small.toml"),
            out,
            options=options,
            resume=True,
            recipe_text=RECIPE,
            tell=told.append,
        )
        (note,) = [entry["text"] for entry in told if entry["kind"] == "note"]
        assert "step-4 is no whole checkpoint: rank-0.safetensors" in note
        assert (out / "checkpoints" / "damaged-step-4").is_dir()
        assert steps_of(out) == steps_of(plain)
        assert not (tmp_path / "executed").exists()

    def test_what_an_older_version_pickled_is_refused_and_not_run(self, shared, stopped, tmp_path):
        out = shutil.copytree(stopped, tmp_path / "run")
        for folder in (out / "checkpoints").iterdir():
            (folder / "files.json").unlink()
            (folder / "rank-0.safetensors").unlink()
            (folder / ".metadata").write_bytes(pickle.dumps(Executed(tmp_path / "executed"), 2))
        with pytest.raises(NoWholeCheckpoint, match=r"it has no files\.json .an older version"):
            train(shared, out, resume=True)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.slow
    def test_a_checkpoint_that_cannot_be_written_ends_the_run_in_one_sentence(
        self, shared, tmp_path, monkeypatch
    ):
        write_share = checkpoint.write_share

        def full(folder, rank, share):
            if folder.name == "step-6":
                (folder / "rank-0.safetensors").write_bytes(b"half")
                raise OSError("no space is left on the disk")
            write_share(folder, rank, share)

        monkeypatch.setattr(checkpoint, "write_share", full)
        with pytest.raises(RunStopped, match=r"step 6 is not saved: no space .*step-3\. Go on"):
            train(shared, tmp_path / "run")
        names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
        assert names == ["step-3"]


class TestParts:
    def test_decay_is_for_matrices_and_clipping_apart_for_centres(self, shared):
        learner = build_learner(load_recipe(shared / "small.toml").pretrain, CPU)
        matrices, vectors = learner.transformer_optimizer.param_groups
        assert matrices["weight_decay"] == 0.2
        assert vectors["weight_decay"] == 0.0
        assert all(parameter.ndim < 2 for parameter in vectors["params"])
        assert not any(
            parameter is centres
            for parameter in learner.transformer.parameters()
            for centres in learner.centres.parameters()
        )
        learner.centres.gradients["object"] = RowGradient(
            torch.tensor([1]), torch.full((1, 64), 10.0)
        )
        assert float(learner.centre_optimizer.clip(1.0)) == pytest.approx(80)
        assert float(learner.centre_optimizer.gradient_norm()) == pytest.approx(1, rel=1e-4)

    def test_centres_that_no_step_sampled_do_not_move(self, shared, tmp_path):
        result = train(shared, tmp_path / "run", "pretrain.loss.rho=0.01", stop_after=1)
        assert result["stopped"]
        steps = steps_of(tmp_path / "run")
        usage = next(entry["usage_text"] for entry in steps if "usage_text" in entry)
        assert usage < 0.3

    def test_distances_of_patches_by_eye(self):
        values = pair_distances(torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]]))
        assert values.tolist() == [1.0, 2.0, 1.0]


@pytest.mark.slow
class TestProcesses:
    @pytest.mark.parametrize("ranks", [1, 2])
    def test_killed_and_resumed_is_the_same_to_the_last_bit(self, shared, tmp_path, ranks):
        run(shared, tmp_path / "whole", ranks=ranks)
        kill_after(shared, tmp_path / "killed", 6, ranks=ranks)
        run(shared, tmp_path / "killed", "--resume", ranks=ranks)
        assert steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole")
        assert len(json.loads((tmp_path / "killed" / "provenance.json").read_text())) == 2

    @pytest.mark.parametrize(
        ("ranks", "by", "words"),
        [(1, signal.SIGINT, ()), (2, signal.SIGINT, ()), (1, signal.SIGTERM, ("--workers",))],
        ids=["one process", "two ranks", "a cluster's signal, with a worker"],
    )
    def test_a_signal_to_all_of_it_saves_what_was_done_and_resuming_is_the_same_to_the_last_bit(
        self, shared, tmp_path, ranks, by, words
    ):
        run(shared, tmp_path / "whole", ranks=ranks)
        interrupt_after(shared, tmp_path / "halted", 4, *words, ranks=ranks, by=by)
        last = steps_of(tmp_path / "halted")[-1]["step"]
        assert 3 <= last < 10
        assert (tmp_path / "halted" / "checkpoints" / f"step-{last}").is_dir()
        run(shared, tmp_path / "halted", "--resume", ranks=ranks)
        assert steps_of(tmp_path / "halted") == steps_of(tmp_path / "whole")

    def test_another_number_of_ranks_goes_on_with_the_same_curve(self, shared, plain, tmp_path):
        kill_after(shared, tmp_path / "run", 7, ranks=2)
        run(shared, tmp_path / "run", "--resume", ranks=3)
        started = json.loads((tmp_path / "run" / "provenance.json").read_text())
        assert [entry["processes"] for entry in started] == [2, 3]
        self.alike(plain, tmp_path / "run")

    def test_a_sharded_encoder_has_the_same_curve(self, shared, plain, tmp_path):
        run(shared, tmp_path / "run", "--shard", ranks=2)
        self.alike(plain, tmp_path / "run")

    @staticmethod
    def alike(first: Path, second: Path) -> None:
        for whole, parts in zip(steps_of(first), steps_of(second), strict=True):
            assert parts.get("loss", 0) == pytest.approx(whole.get("loss", 0), rel=1e-4)
            for score in ("knn", "knn_patches", "distance"):  # each rank measures its share
                assert parts.get(score, 0) == pytest.approx(whole.get(score, 0), abs=0.03)

    def test_two_ranks_learn(self, shared, tmp_path):
        stage = "name='a', size=96, steps=300, batch=32, warmup=30, learning_rate=3e-3"
        words = [
            f"pretrain.stage=[{{{stage}}}]",
            "pretrain.loss.rho=1.0",
            "pretrain.evaluate.every=0",
        ]
        words += ["pretrain.data=[{shards='scenes(768, size=96, fewest=3, most=6)'}]"]
        words += [
            "pretrain.evaluate.shards='scenes(128, start=100000, size=96)'",
            "pretrain.evaluate.images=128",
        ]
        run(shared, tmp_path / "run", *words, ranks=2)
        losses = [entry["loss"] for entry in steps_of(tmp_path / "run") if "loss" in entry]
        before, after = [entry for entry in steps_of(tmp_path / "run") if "knn" in entry]
        assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
        assert after["knn"] > 20 * after["knn_chance"]
        assert after["knn"] > 2 * before["knn"]  # a random encoder is above chance too: colours
