"""`regiontok answer`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from regiontok.cli import completion
from regiontok.cli.options import (
    Batch,
    ChatTemplate,
    Device,
    DryRun,
    RegionSpec,
    Resume,
    Revision,
    Segmenter,
)
from regiontok.cli.terminal import clear_errors, closing_json, say, stderr, warn

SHOWN = 5  # questions that were set aside, by name

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of the benchmark's published files; miniworld makes its questions without it.",
    ),
]


def answer(
    model: Annotated[
        str,
        typer.Argument(
            help="mini or another name of `regiontok ls models`, a trained model's folder, or a "
            "released model's hub name or folder."
        ),
    ],
    bench: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.methods("bench"),
            help="A benchmark: a name of `regiontok ls benches`, or a spec such as "
            "\"mmvp(labels='corrected')\".",
        ),
    ],
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder. Without it, answers/BENCH/MODEL."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of pictures that are not beside the files; may be given several times."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What tables call this run.")] = "",
    prompt: Annotated[
        str, typer.Option(help="How to ask, by name; without it, as the study asks.")
    ] = "",
    blind: Annotated[bool, typer.Option("--blind", help="Leave all pictures out.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Questions at most; 0 asks all.")] = 0,
    longest: Annotated[
        int, typer.Option(min=0, help="Tokens of an answer at most; 0 is what the benchmark says.")
    ] = 0,
    regions: RegionSpec = "",
    segmenter: Segmenter = "",
    template: ChatTemplate = "",
    as_trained: Annotated[
        bool,
        typer.Option("--as-trained", help="For a trained model: read pictures as in training."),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="For a trained model: change how it reads pictures; may be given several times.",
        ),
    ] = None,
    revision: Revision = "",
    batch: Batch = 8,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="Also keep what each word of an answer looked at, for regiontok view; with "
            "--resume also of answers that are there.",
        ),
    ] = False,
    device: Device = "cpu",
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Ask a model the questions of a benchmark; `regiontok score` reads what comes out.

    Also under torchrun or accelerate launch: each process answers its share. Questions that cannot
    be asked are set aside, named and counted (exit status 1).

    Examples:

    `regiontok answer mini miniworld`

    `regiontok answer run/2_tuning pope --data pope/ --images coco/val2014`

    `regiontok answer llava-hf/llava-1.5-7b-hf cvbench --data CV-Bench/ --regions "merge(k=144)"
    --device cuda --batch 32 --resume`
    """
    with clear_errors():
        from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
        from regiontok.jobs.answer.ranks import Ranks

        options = AnswerOptions(
            model=model,
            bench=bench,
            data=data,
            images=tuple(images or ()),
            name=name,
            prompt=prompt,
            blind=blind,
            limit=limit,
            longest=longest,
            regions=regions,
            segmenter=segmenter,
            template=template,
            as_trained=as_trained,
            changes=tuple(changes or ()),
            revision=revision,
            device=device,
            batch=batch,
            attention=attention,
        )
        plan, ranks = AnswerPlan.of(options), Ranks.of_environment()
        folder = out or Path("answers") / bench.partition("(")[0] / _slug(name or model, regions)
        if ranks.rank == 0:
            _warn_set_aside(plan)
        if dry_run:
            _say_plan(plan, folder)
            return
        failed = _answer(plan, folder, ranks, resume=resume)
    raise typer.Exit(1 if failed or plan.loaded.set_aside else 0)


def _answer(plan: Any, folder: Path, ranks: Any, *, resume: bool) -> int:
    """Answer, and say how it went; gives how many answers, or what they looked at, are missing."""
    from regiontok.cli.progress import counting
    from regiontok.jobs.answer import run

    passes = 2 if plan.options.attention else 1
    total = passes * len(plan.loaded.questions) // ranks.count
    try:
        bar = counting("answers", total) if ranks.rank == 0 else nullcontext(lambda: None)
        with ranks.joined(), bar as tick:
            counts = run.answer(plan, folder, resume=resume, ranks=ranks, tick=tick)
            counts = run.AnswerCounts.of_all(ranks, counts)
    except KeyboardInterrupt:
        stderr().print(f"stopped: what is answered is in {folder}; go on with --resume")
        raise typer.Exit(130) from None
    if ranks.rank == 0:
        for id, reason in list(counts.failed.items())[:SHOWN]:
            warn(f"{id}: {reason}")
        for id, reason in list(counts.unattended.items())[:SHOWN]:
            warn(f"{id} has no attention: {reason}")
        say(f"{counts.answered} answers ({counts.resumed} were there) in {folder}")
        report = {
            "command": "answer",
            "bench": plan.options.bench,
            "out": str(folder),
            "questions": len(plan.loaded.questions),
            "answered": counts.answered,
            "resumed": counts.resumed,
            "failed": len(counts.failed),
            "set_aside": plan.loaded.counts,
        }
        if plan.options.attention:
            report |= {"attended": counts.attended, "unattended": len(counts.unattended)}
        closing_json(report)
    return len(counts.failed) + len(counts.unattended)


def _warn_set_aside(plan: Any) -> None:
    aside = plan.loaded.set_aside
    for question in aside[:SHOWN]:
        warn(f"{question.id} is set aside: {question.reason}")
    if len(aside) > SHOWN:
        warn(f"... and {len(aside) - SHOWN} more questions are set aside")


def _say_plan(plan: Any, folder: Path) -> None:
    """Say what would be asked, with the first question as it is asked."""
    from regiontok.jobs.answer.ranks import Ranks

    questions = plan.loaded.questions
    head = plan.head(Ranks())
    say(f"{len(questions)} questions of {head['bench']} would be answered into {folder}")
    say(f"decoding: {head['decoding']}; prompt {head['prompt']!r}, such as:")
    say(plan.prompt(questions[0]))
    closing_json({"command": "answer", "dry_run": True, "out": str(folder), "head": head})


def _slug(model: str, regions: str) -> str:
    from regiontok.jobs.tokenize.names import slug

    return slug(f"{Path(model).name} {regions}".strip())
