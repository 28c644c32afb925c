r"""The field kit: how good are a released model's answers with fewer visual tokens, untrained?

It asks LLaVA-1.5-7B and Qwen2.5-VL-7B samples of POPE, CV-Bench and OCRBench: with all of their own
visual tokens, without any picture, and at each budget with each way to make fewer tokens. It ends
with one report page. It goes by what `regiontok answer` and `regiontok report` go by.

    python examples/field_kit.py --data benches --dry-run
    python examples/field_kit.py --data benches --device cuda --batch 16 --sample 600
    python examples/field_kit.py --data benches --device cuda --models llava-hf/llava-1.5-7b-hf \
        --benches pope --methods merge tome --budgets 144 72 --out small

The folder of --data has a folder with the published files for each benchmark: benches/pope,
benches/cvbench, benches/ocrbench. The same command goes on where an earlier one stopped.
docs/how-to/field_kit.md describes the plan, the budgets and the page.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from field_kit_models import METHODS, MODELS, Checkpoint, checkpoint_of

from regiontok.cli.progress import counting
from regiontok.evaluation.answers import read_answers
from regiontok.evaluation.bench import Bench
from regiontok.evaluation.images import QuestionImage
from regiontok.evaluation.question import Question
from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer
from regiontok.jobs.report.command import scored_runs, write_report
from regiontok.jobs.report.table import report_table
from regiontok.jobs.report.texts import markdown
from regiontok.jobs.tokenize.names import slug
from regiontok.system.choices import check_choice
from regiontok.system.errors import RegiontokError

BENCHES = ("pope", "cvbench", "ocrbench")
BUDGETS = (576, 257, 144, 72)


@dataclass(frozen=True, eq=False)
class Run:
    """One model, with one kind of regions, on one benchmark.

    Attributes:
        checkpoint: the model.
        plan: what is asked, and how.
        budget: visual tokens of a picture at most; 0 for the model's own.
        folder: where the answers go.
    """

    checkpoint: Checkpoint
    plan: AnswerPlan
    budget: int
    folder: Path

    def visual_tokens(self) -> list[int]:
        """About how many visual tokens each question's pictures have."""
        if self.plan.options.blind:
            return [0] * len(self.plan.loaded.questions)
        own = [
            self.checkpoint.patches or self.checkpoint.tokens(picture_size(image))
            for question in self.plan.loaded.questions
            for image in question.images
        ]
        return [min(tokens, self.budget) if self.budget else tokens for tokens in own]

    def estimate(self) -> dict[str, float]:
        """See `Checkpoint.estimate`."""
        options, longest = self.plan.options, self.plan.decoding["max_new_tokens"]
        return self.checkpoint.estimate(self.visual_tokens(), longest, options.batch)

    @property
    def is_answered(self) -> bool:
        """True if every question has a reply."""
        if not any(self.folder.glob("answers*.jsonl")):
            return False
        return len(read_answers(self.folder).replied) >= len(self.plan.loaded.questions)


@cache
def picture_size(image: QuestionImage) -> tuple[int, int]:
    """(height, width) in pixels of a picture, which is read once for all runs."""
    return image.read().size


def sampled(bench: Bench, questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """A sample in which each part of a benchmark has its share, in the order of the files.

    Questions that are judged together are drawn together. 0 takes all.
    """
    if not count or count >= len(questions):
        return list(questions)
    units: dict[str, list[Question]] = {}
    for question in questions:
        units.setdefault(question.groups.get(bench.unit) or question.id, []).append(question)
    draw = random.Random(seed)
    by_part = sorted(
        units.items(),
        key=lambda unit: (
            [value for name, value in unit[1][0].groups.items() if name != bench.unit],
            draw.random(),
        ),
    )
    wanted = max(1, count * len(by_part) // len(questions))
    chosen = {
        question.id
        for number in range(wanted)
        for question in by_part[(2 * number + 1) * len(by_part) // (2 * wanted)][1]
    }
    return [question for question in questions if question.id in chosen]


def settings(
    checkpoint: Checkpoint, methods: Sequence[str], budgets: Sequence[int]
) -> Iterator[tuple[str, str, int]]:
    """(name, regions, budget) of each row of the report; what cannot be is left out, aloud."""
    yield "patches", "", 0
    for method in methods:
        reducer = METHODS[method]
        if reducer.needs_cls and not checkpoint.has_cls:
            say(f"{checkpoint.label}: no {method}, for its vision tower has no CLS token")
            continue
        for budget in budgets:
            if not checkpoint.patches or budget < checkpoint.patches:
                yield f"{method} {budget}", checkpoint.regions(reducer, budget), budget


def planned(given: argparse.Namespace) -> list[Run]:
    """All runs, model by model; questions are read once a benchmark."""
    questions: dict[tuple[str, bool], AnswerPlan] = {}
    for name in given.benches:
        options = AnswerOptions(
            model="",
            bench=name,
            data=given.data / name,
            images=tuple(given.images),
            device=given.device,
            batch=given.batch,
        )
        for blind in (False, True):
            plan = AnswerPlan.of(replace(options, blind=blind))
            kept = sampled(plan.bench, plan.loaded.questions, given.sample, given.seed)
            loaded = replace(plan.loaded, questions=tuple(kept))
            questions[name, blind] = replace(plan, loaded=loaded)
        if aside := questions[name, False].loaded.set_aside:
            say(f"{name}: {len(aside)} questions are set aside, the first: {aside[0].reason}")
    runs = []
    for model in given.models:
        checkpoint = checkpoint_of(model)
        rows = [(*row, False) for row in settings(checkpoint, given.methods, given.budgets)]
        for name, regions, budget, blind in [("blind", "", 0, True), *rows]:
            for bench in given.benches:
                plan, label = questions[bench, blind], f"{checkpoint.label} {name}"
                options = replace(plan.options, model=model, name=label, regions=regions)
                folder = given.out / "answers" / slug(label, always_plain=True) / bench
                runs.append(Run(checkpoint, replace(plan, options=options), budget, folder))
    return runs


def say_plan(runs: Sequence[Run]) -> None:
    """What would be done, a line a run, and what it would take."""
    say("run | benchmark | questions | regions | tokens a picture, about | GB | hours")
    hours, memory = 0.0, 0.0
    for run in runs:
        options, estimate = run.plan.options, run.estimate()
        hours, memory = hours + estimate["hours"], max(memory, estimate["gigabytes"])
        say(
            f"{options.name} | {options.bench} | {len(run.plan.loaded.questions)} | "
            f"{options.regions or '-'} | {estimate['tokens']:.1f} | {estimate['gigabytes']:.1f} | "
            f"{estimate['hours']:.2f}"
        )
    say(
        f"{len(runs)} runs, about {hours:.1f} hours and {memory:.0f} GB of GPU memory at most: "
        "reckoned for an A100, not measured"
    )


def answer_all(runs: Sequence[Run], device: str) -> int:
    """Answer what is not answered yet; each model is loaded once. Gives the questions that fail."""
    from regiontok.model.conversation import open_conversation_model
    from regiontok.released.conversation import ReleasedConversationModel
    from regiontok.released.loading import from_vlm

    failed, opened = 0, {}
    for run in runs:
        options, model = run.plan.options, None
        if not run.is_answered:
            if options.model not in opened:
                opened.clear()  # before the next one comes
                opened[options.model] = open_conversation_model(options.model, device=device).model
            own = opened[options.model]
            model = ReleasedConversationModel(
                from_vlm(own.model, own.processor, regions=options.regions)
            )
        with counting(f"{options.name}, {options.bench}", len(run.plan.loaded.questions)) as tick:
            counts = answer(run.plan, run.folder, resume=True, model=model, tick=tick)
        failed += len(counts.failed)
        for id, reason in list(counts.failed.items())[:3]:
            say(f"{options.name}, {options.bench}, {id}: {reason}")
    return failed


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with a folder a benchmark")
    add("--images", type=Path, nargs="*", default=[], help="further folders of pictures")
    add("--out", type=Path, default=Path("field_kit"), help="answers/ and report/ go here")
    add("--models", nargs="+", default=MODELS, metavar="MODEL", help="hub names or folders")
    add("--benches", nargs="+", default=BENCHES, metavar="BENCH", help="names of benchmarks")
    add("--methods", nargs="+", default=list(METHODS), metavar="METHOD", help=", ".join(METHODS))
    add("--budgets", nargs="+", type=int, default=BUDGETS, metavar="K", help="tokens a picture")
    add("--sample", type=int, default=600, help="questions of a benchmark; 0 asks all")
    add("--seed", type=int, default=0, help="of the sample")
    add("--resamples", type=int, default=1000, help="of the bootstrap behind intervals")
    add("--batch", type=int, default=8, help="questions that go through a model together")
    add("--device", default="cuda", help="where the models run")
    add("--dry-run", action="store_true", help="print the plan with its estimates, and stop")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Plan, answer, report; the exit status is 1 if questions have no answer."""
    given = parsed(words)
    try:
        for method in given.methods:
            check_choice("--methods", method, tuple(METHODS))
        runs = planned(given)
        if given.dry_run:
            say_plan(runs)
            return 0
        failed = answer_all(runs, given.device)
        table = report_table(
            scored_runs([str(run.folder) for run in runs], resamples=given.resamples)
        )
        page = write_report(table, given.out / "report")[-1]
        say(markdown(table))
    except (RegiontokError, ValueError, ImportError, OSError) as error:
        print(f"field_kit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on", file=sys.stderr)
        return 130
    if failed:
        say(f"{failed} questions have no answer, and no part in the scores")
    say(f"the report: {page}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
