"""`regiontok compare`: several models asked the same, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regiontok.cli.options import Device, Out, Photos, Revision
from regiontok.cli.terminal import clear_errors, closing_json, look_at, say, warn


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models: mini or another name of `regiontok ls models`, a trained model's folder, "
            "or a released model's hub name or folder with ::REGIONS behind it; in front "
            "[ROW/]NAME= names its place in the figure."
        ),
    ],
    images: Photos,
    ask: Annotated[
        list[str],
        typer.Option(help="The question: one for all photos, or one a photo, in their order."),
    ],
    expected: Annotated[
        list[str] | None,
        typer.Option(help="The right answers, one a photo; answers that say them are marked."),
    ] = None,
    answers: Annotated[
        bool,
        typer.Option("--answers", help="Draw what the models say and not where they look."),
    ] = False,
    words: Annotated[
        bool,
        typer.Option("--words", help="Draw where each word looks: a row a model, a column a word."),
    ] = False,
    gold: Annotated[
        bool,
        typer.Option("--gold", help="With --words: read the expected answer, not the model's own."),
    ] = False,
    layers: Annotated[
        str, typer.Option(help="With --words: the layers that count, such as 10,11 or -1.")
    ] = "",
    heads: Annotated[str, typer.Option(help="With --words: the heads that count.")] = "",
    letters: Annotated[
        bool, typer.Option("--letters", help="Put (a), (b) ... over the columns.")
    ] = False,
    longest: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 32,
    out: Out = Path("comparison.png"),
    revision: Revision = "",
    device: Device = "cpu",
) -> None:
    """Ask several models the same, and draw where their answers look or what they say.

    These are the study's figures 1, 6 (right) and 8 and its supplement's 1 (right) and 3, and
    OG-LLaVA's side-by-side answers. --out is an .svg, .png or .webp.

    Examples:

    `regiontok compare Patch=runs/patch/2_tuning Regions=runs/cluster/2_tuning --images zebra.jpg
    --ask "What animal is it?" --out attention.png`

    `regiontok compare CLIP/before=a/2_tuning CLIP/after=b/2_tuning --images photos/ --ask "What is
    it?"`

    `regiontok compare llava-hf/llava-1.5-7b-hf "llava-hf/llava-1.5-7b-hf::merge(0.7)"
    --images a.jpg --ask "How many dogs?" --expected two --answers`

    `regiontok compare Patch=a/2_tuning Regions=b/2_tuning --images a.jpg --ask "What is it?"
    --words --expected "a red square" --gold --layers -1`
    """
    with clear_errors():
        from regiontok.cli.progress import counting
        from regiontok.core.picture import Picture
        from regiontok.data.collect import collect
        from regiontok.evaluation.focus_options import whole_numbers
        from regiontok.jobs.chat import comparison as job
        from regiontok.jobs.chat.words import (
            WordComparison,
            WordOptions,
            compare_words,
            words_figure,
        )
        from regiontok.jobs.diagnose.figure import save_figure
        from regiontok.system.drawn import check_drawing_place

        check_drawing_place(out)
        compared = [job.ComparedModel.of(model, revision) for model in models]
        pictures = [Picture.of(photo.path) for photo in collect(images, sys.stdin, note=warn)]
        questions = job.questions_about(pictures, ask, expected or [])
        if (gold or layers or heads) and not words:
            raise ValueError("--gold, --layers and --heads are for --words")
        options = WordOptions(
            layers=whole_numbers(layers), heads=whole_numbers(heads), gold=gold, longest=longest
        )
        with counting("answers", len(compared) * len(questions)) as tick:
            comparison: job.Comparison | WordComparison
            if words:
                comparison = compare_words(compared, questions, options, device=device, tick=tick)
                figure = words_figure(comparison, options, letters=letters)
            else:
                comparison = job.compare(
                    compared, questions, longest=longest, device=device, tick=tick
                )
                make = job.answers_figure if answers else job.attention_figure
                figure = make(comparison, letters=letters)
        save_figure(figure, out)
        for row in comparison.report():
            for answer in row["answers"]:
                say(f"{row['image']}: {answer['model']}: {answer['answer']}")
        look_at(out)
        closing_json({"command": "compare", "questions": comparison.report(), "out": str(out)})
