"""lmms-eval itself, in an environment of its own, runs tasks of local data to a score.

`REGIONTOK_LMMS_ENV` names a folder in which that environment is made once and kept; without it,
each run makes one (0.8 GB).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import regiontok
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.serve.lmms_tasks.utils import caption_result
from regiontok.settings.recipe import TokenizerSettings
from samples.pictures import noise
from samples.released import tiny_llava

pytestmark = pytest.mark.slow
PACKAGE = "lmms-eval==0.7.3"
ROOT = Path(regiontok.__file__).parents[2]


def pip(python: Path, *words: str) -> None:
    command = [python, "-m", "pip", "install", "--quiet", *words]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["no reason was given"]
        pytest.skip(f"pip install {' '.join(words)} failed: {lines[-1]}")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with lmms-eval, av<16, and this checkout."""
    pytest.importorskip("hatchling")
    kept = os.environ.get("REGIONTOK_LMMS_ENV", "")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("lmms") / "env"
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        # what is installed here is seen there, behind what the environment has of its own
        base = folder / "lib" / version / "site-packages" / "zz_base.pth"
        base.write_text(sysconfig.get_path("purelib") + "\n")
    pip(python, PACKAGE, "av<16")
    pip(python, "--no-deps", "--no-build-isolation", "--force-reinstall", str(ROOT))
    return python


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    processor = RegionVLMProcessor(mini_tokenizer())
    visual = TokenizerSettings(encoder="filters(size=56)", regions="merge(k=4)", whole=True)
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=2, heads=4),
        visual,
        image_token_id=processor.image_token_id,
    )
    parts = {"trained": (model, processor), "llava": tiny_llava()}
    for name, (saved_model, saved_processor) in parts.items():
        # random weights would say anything, or nothing
        letters = {saved_processor.tokenizer(letter).input_ids[-1] for letter in "AB"}
        others = [number for number in range(260) if number not in letters]
        saved_model.generation_config.suppress_tokens = others
        saved_model.save_pretrained(folder / name)
        saved_processor.save_pretrained(folder / name)
    return folder


def docs():
    return [
        {"true_caption": f"a red {n}", "false_caption": f"a blue {n}", "number": n}
        for n in range(5)
    ]


def task_folder(python):
    """Where the installed package has its task files, as the docs say."""
    command = [str(python), "-m", "regiontok.serve.lmms_tasks"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def local_tasks(python, tmp_path_factory):
    """ARO's task file over five local pictures."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("tasks")
    rows = []
    for doc in docs():
        path = folder / f"{doc['number']}.png"
        noise(20, 30, seed=doc["number"]).pil.save(path)
        rows.append({**doc, "image": {"bytes": path.read_bytes(), "path": None}})
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    (folder / "local_aro.yaml").write_text(
        f"include: {task_folder(python)}/regiontok_aro_relation.yaml\n"
        "task: local_aro\n"
        "dataset_path: parquet\n"
        f"dataset_kwargs: {{data_files: {{test: {folder}/rows.parquet}}}}\n"
    )
    return folder


def lmms_eval(python, model_args, folder, out, *flags, launcher=(), **variables):
    command = [
        python, *launcher, "-m", "lmms_eval", "--model", "regiontok", "--model_args", model_args,
        "--tasks", "local_aro", "--include_path", folder, "--batch_size", "2", "--device", "cpu",
        "--output_path", out, "--log_samples", *flags,
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "hub")}
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env={**environment, **offline, "CUDA_VISIBLE_DEVICES": "", **variables},
        check=False,
    )


@pytest.mark.parametrize(
    ("model_args", "flags"),
    [
        ("pretrained={}/trained", ()),
        ("pretrained={}/trained", ("--force_simple",)),
        ("pretrained={}/llava,regions=merge(k=3) | split(eps=0.7, min_samples=2)", ()),
    ],
    ids=["trained chat", "trained simple", "released"],
)
def test_a_local_task_runs_to_a_score(python, models, local_tasks, tmp_path, model_args, flags):
    run = lmms_eval(python, model_args.format(models), local_tasks, tmp_path, *flags)
    assert run.returncode == 0, run.stderr[-3000:]
    (results,) = tmp_path.rglob("*_results.json")
    score = json.loads(results.read_text())["results"]["local_aro"]
    (samples,) = tmp_path.rglob("*_samples_local_aro.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(lines) == 5
    lines.sort(key=lambda line: line["doc_id"])
    replies = [line["filtered_resps"] for line in lines]
    replies = [reply if isinstance(reply, str) else reply[0] for reply in replies]
    assert all(replies)
    right = [
        caption_result(doc, [reply])["accuracy"] for doc, reply in zip(docs(), replies, strict=True)
    ]
    assert score["accuracy,none"] == pytest.approx(sum(right) / 5)


def test_processes_share_the_questions(python, models, local_tasks, tmp_path):
    """Five questions for two processes: lmms-eval asks one of them twice, and counts it once."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    arguments = f"pretrained={models}/trained"
    run = lmms_eval(
        python, arguments, local_tasks, tmp_path, launcher=launcher, ACCELERATE_USE_CPU="true"
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (samples,) = tmp_path.rglob("*_samples_local_aro.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert sorted(line["doc_id"] for line in lines) == [0, 1, 2, 3, 4]
    assert all(line["filtered_resps"] for line in lines)
    refused = lmms_eval(python, arguments, local_tasks, tmp_path / "refused", launcher=launcher)
    assert "2 processes were started, and accelerate sees 1" in refused.stderr + refused.stdout
    assert not list((tmp_path / "refused").rglob("*_results.json"))


def test_mistakes_end_the_run(python, models, local_tasks, tmp_path):
    run = lmms_eval(python, f"pretrained={models}/trained,fast=1", local_tasks, tmp_path)
    assert "model_args has no 'fast'" in run.stderr + run.stdout
    assert not list(tmp_path.rglob("*_results.json"))
