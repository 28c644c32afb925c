"""Turn a finished training run into a model that comes with the package.

    python tools/ship.py runs/patch mini-patch --work work

Weights are rounded to bfloat16, the frozen encoder stays out, and the model is asked before and
after: the largest difference of logits and the replies that change are printed. It then answers the
bench (on with the same command after a stop), and `shipped.json` says how it came about and how
well it answers. The folder appears when all of it is there.

    python tools/ship.py src/regiontok/shipped/mini-patch mini-patch --work work

asks a model that comes with the package anew, for instance after the bench has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from regiontok.benches.miniworld import Miniworld
from regiontok.evaluation.answers import Answer
from regiontok.evaluation.loading import load_questions
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer
from regiontok.jobs.report.runs import ScoredRun, score_run
from regiontok.model.conversation import TrainedConversationModel, open_conversation_model
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.saved_processor import load_processor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.catalogue import CATALOGUE, full_encoder_call
from regiontok.settings.recipes import name_of_recipe
from regiontok.settings.spec import parse_one
from regiontok.system.files import replacing
from regiontok.system.pretrained import quiet_transformers
from regiontok.system.shipped_models import FACTS, FOLDER
from regiontok.system.strict_json import json_bytes, parse_json

WEIGHTS = "model.safetensors"
COMPARED = 64  # questions about pictures of the validation split, before and after rounding
FIRST = 256  # questions whose replies are kept as a hash: whole windows of `AnswerPlan.batches`


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the model's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of `regiontok train`, or of a shipped model")
    parser.add_argument("name", help="name of the model, such as mini-patch")
    parser.add_argument("--work", type=Path, required=True, help="where its answers are kept")
    parser.add_argument("--bench", default="miniworld(500)", help="the bench of its accuracy")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of shipped models")
    words = parser.parse_args(arguments)
    try:
        facts = ship(words.run, words.name, words.work, bench=words.bench, out=words.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for name, value in facts["rounding"].items():
        print(f"{name}: {value}")
    for name, score in facts["accuracy"]["scores"].items():
        print(f"{name}: {score['value']:.1f} ({score['low']:.1f} to {score['high']:.1f})")


def ship(run: Path, name: str, work: Path, *, bench: str, out: Path) -> dict[str, Any]:
    """Write the folder of a shipped model.

    Args:
        run: the folder of a finished training run, or of a shipped model, which is asked anew.
        name: name of the model.
        work: where answers, and the model while it is asked, are kept.
        bench: spec of the bench, which makes its questions.
        out: the folder of shipped models.

    Returns:
        What `shipped.json` holds.

    Raises:
        ValueError: If the run is not finished, or its encoder was trained.
    """
    if (run / FACTS).is_file():
        rounded, facts = run, parse_json((run / FACTS).read_text(encoding="utf-8"))
    else:
        trained, rounded = final_model(run), work / name
        if not rounded.is_dir():
            with replacing(rounded) as folder:
                write_rounded(trained, folder)
        facts = {**facts_of_run(run, trained), "rounding": difference(trained, rounded)}
    facts["accuracy"] = accuracy(name, rounded, work / f"answers-{name}", bench)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / name) as folder:
        shutil.copytree(rounded, folder, ignore=shutil.ignore_patterns(FACTS))
        (folder / FACTS).write_bytes(json_bytes(facts, indent=1))
    return facts


def final_model(run: Path) -> Path:
    """The model that the last stage of a run left: `final`, or that of the highest number.

    Raises:
        ValueError: If a stage is not finished.
    """
    if (run / "final" / "config.json").is_file():
        return run / "final"
    stages = tomllib.loads((run / "resolved.toml").read_text(encoding="utf-8"))["stage"]
    last = run / f"{len(stages)}_{stages[-1]['name']}"
    if not (last / "config.json").is_file():
        raise ValueError(f"{run} is not finished: there is no {last.name}")
    return last


def write_rounded(trained: Path, folder: Path) -> None:
    """Write a model with its weights rounded to bfloat16, and a processor that knows its questions.

    Its config says float32, in which it computes everywhere: answers must not hang on whether a
    machine has bfloat16.

    Raises:
        ValueError: If the model holds an encoder.
    """
    model = RegionVLM.from_pretrained(trained, dtype=torch.float32)
    if model.config.tune_encoder:
        raise ValueError(f"{trained} holds a trained encoder: only frozen ones stay out")
    processor = load_processor(trained)
    with quiet_transformers():
        model.save_pretrained(folder)
        shipped = RegionVLMProcessor(
            processor.tokenizer, chat_template=processor.chat_template, questions="world"
        )
        shipped.save_pretrained(folder)
    tensors = {name: value.bfloat16() for name, value in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # it is written for its owner alone


@dataclass(frozen=True)
class Asked:
    """What a model says to the questions of a comparison.

    Attributes:
        logits: `[n vocabulary]`, of the first token of each answer.
        replies: the answers.
    """

    logits: torch.Tensor
    replies: tuple[str, ...]


def ask(folder: Path) -> Asked:
    """A model's logits and replies to the first questions of the validation split."""
    bench = Miniworld(n=COMPARED, split="val")
    questions = load_questions(bench, None, limit=COMPARED).questions[:COMPARED]
    model = open_conversation_model(str(folder))
    assert isinstance(model, TrainedConversationModel)
    logits, replies = [], []
    for question in questions:
        text = {"type": "text", "text": bench.prompt(question)}
        message = {"role": "user", "content": [{"type": "image"}, text]}
        pictures = [image.read() for image in question.images]
        prepared = model.prepare([message], pictures)
        first = prepared.read(torch.empty(1, 0, dtype=torch.long)).logits[0, -1]
        logits.append(first.float())
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": bench.longest}
        (reply,) = model.answers([[message]], [pictures], **options)
        replies.append(reply.text)
        model.forget()
    return Asked(torch.stack(logits), tuple(replies))


def difference(trained: Path, rounded: Path) -> dict[str, Any]:
    """What rounding changed."""
    before, after = ask(trained), ask(rounded)
    same = sum(one == other for one, other in zip(before.replies, after.replies, strict=True))
    return {
        "weights": "bfloat16, computed in float32",
        "questions": len(before.replies),
        "largest_difference_of_logits": round(float((before.logits - after.logits).abs().max()), 4),
        "largest_logit": round(float(before.logits.abs().max()), 4),
        "same_replies": same,
    }


def accuracy(name: str, folder: Path, answers: Path, bench: str) -> dict[str, Any]:
    """What `regiontok answer` and `regiontok score` say of a model."""
    options = AnswerOptions(model=str(folder), bench=bench, data=None)
    plan = AnswerPlan.of(options)
    answer(plan, answers, resume=True)
    scored = score_run(answers)
    return {
        "bench": bench,
        "command": f'regiontok answer {name} "{bench}" --out answers && regiontok score answers',
        "questions": len(plan.loaded.questions),
        "questions_hash": scored.run.head["questions_hash"],
        "scores": scored.score.report()["scores"],
        "baselines": scored.score.report()["baselines"],
        "first": first_replies(plan, scored),
    }


def first_replies(plan: AnswerPlan, scored: ScoredRun) -> dict[str, Any]:
    """The hash of the replies to the first questions, in their order, and how many are right."""
    by_id = {given.question.id: given for given in scored.run.replied}
    firsts = [by_id[question.id] for question in plan.loaded.questions[:FIRST]]
    right = dict(zip(scored.score.ids, scored.score.marks["right"], strict=True))
    return {
        "questions": len(firsts),
        "right": int(sum(right[answer.question.id] for answer in firsts)),
        "replies": replies_hash(firsts),
    }


def replies_hash(answers: Sequence[Answer]) -> str:
    """A hash of questions' ids with the replies."""
    lines = [f"{given.question.id}\t{given.reply}" for given in answers]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def facts_of_run(run: Path, trained: Path) -> dict[str, Any]:
    """How a model came about, as its run's folder says."""
    resolved = (run / "resolved.toml").read_text(encoding="utf-8")
    recipe = tomllib.loads(resolved)
    start = parse_json((run / "provenance.json").read_text(encoding="utf-8"))[-1]
    metrics = parse_json((run / "metrics.json").read_text(encoding="utf-8"))
    tensors = load_file(trained / WEIGHTS)
    name = name_of_recipe(recipe["name"], resolved)
    begun = recipe["model"].get("start", "")
    return {
        "what": recipe["what"],
        "recipe": {"name": recipe["name"], "resolved": resolved},
        "command": f"regiontok train {name} --out run --device cpu",
        "parameters": sum(value.numel() for value in tensors.values()),
        "trained": {
            "python": start["python"],
            "versions": start["versions"],
            "seeds": start["seeds"],
            "stages": metrics,
            "records": [data["records"] for stage in recipe["stage"] for data in stage["data"]],
        },
        **({"start": facts_of_start(begun)} if begun else {}),
        "encoder": encoder_facts(recipe["tokenizer"]["encoder"]),
        "licence": "Apache-2.0",
    }


def facts_of_start(start: str) -> dict[str, Any]:
    """How the model came about that a training went on from, and a hash of its weights.

    Raises:
        ValueError: If it is no model that comes with the package: nobody could repeat the training.
    """
    folder = FOLDER / start
    if not (folder / FACTS).is_file():
        raise ValueError(f"start = {start!r} is no model that comes with the package")
    facts = parse_json((folder / FACTS).read_text(encoding="utf-8"))
    kept = ("recipe", "command", "trained", "start")
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return {"name": start, "sha256": weights} | {key: facts[key] for key in kept if key in facts}


def encoder_facts(spec: str) -> dict[str, str]:
    """What stands beside a model of an encoder that is not in it."""
    call, licences = full_encoder_call(spec), {}
    for entry in CATALOGUE:
        known = parse_one(entry.spec)
        licences[known.name, known.args] = entry.licence
    return {
        "spec": spec,
        "weights": "frozen, and not in this folder",
        "licence": licences.get((call.name, call.args), "unknown"),
    }


if __name__ == "__main__":
    main()
