"""`regiontok focus`: the attention of models' answers on annotated objects, resumable line by line.

An output folder holds, of each model, `NAME.jsonl`: a line of what decides its samples, then a line
a question that is done or set aside. `focus.json` has the scores, which are always made of these
lines again: another threshold needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regiontok.conversation import ConversationModel
from regiontok.data.generated import is_generated
from regiontok.evaluation.focus import FocusSample, focus_sample
from regiontok.evaluation.focus_options import FocusOptions
from regiontok.evaluation.focus_table import focus_table
from regiontok.evaluation.focus_targets import token_overlaps
from regiontok.jobs.chat.comparison import ComparedModel
from regiontok.jobs.focus.pixcv import pixcv_questions
from regiontok.jobs.focus.questions import FocusQuestion
from regiontok.jobs.focus.results import SampleFile
from regiontok.jobs.focus.scenes import scene_questions
from regiontok.jobs.tokenize.names import slug
from regiontok.model.answer_attention import NoAnswer, answer_attention
from regiontok.model.attention import watch
from regiontok.system.checkpoint import fingerprint
from regiontok.system.files import replacing
from regiontok.system.lease import folder_lease
from regiontok.system.shipped_models import local_folder
from regiontok.system.strict_json import strict_json

RESULTS = "focus.json"


@dataclass(frozen=True, kw_only=True)
class FocusRun:
    """What is measured, and how.

    Attributes:
        models: the models, each a row of the table.
        data: a folder of PixCV-Bench or PixMMVP, or a text such as "miniworld(200)".
        out: the output folder.
        options: the choices of the metric.
        images: folder of the pictures; None if the data's own holds them.
        ask: a question in place of the data's; see `pixcv_questions`.
        segmenter: a spec for released models whose regions need masks.
        longest: tokens of a model's own answer at most.
        most: most questions that are asked, the first ones; 0 for all.
        device: where models run.
        overwrite: whether samples that were made with other settings are replaced.
    """

    models: Sequence[ComparedModel]
    data: str
    out: Path
    options: FocusOptions = field(default_factory=FocusOptions)
    images: Path | None = None
    ask: str = ""
    segmenter: str = ""
    longest: int = 32
    most: int = 0
    device: str = "cpu"
    overwrite: bool = False

    def questions(self) -> list[FocusQuestion]:
        """The questions of the data.

        Raises:
            ValueError: If there are none, or the data have another form.
        """
        if is_generated(self.data):
            questions = scene_questions(self.data)
        else:
            questions = pixcv_questions(Path(self.data), images=self.images, ask=self.ask)
        if not questions:
            raise ValueError(f"{self.data}: no question is about a picture with masks")
        return questions[: self.most or None]

    def settings_of(self, model: ComparedModel) -> dict[str, Any]:
        """All that decides the samples of a model."""
        folder = local_folder(model.source)
        return {
            "model": model.source,
            "weights": "" if folder is None else fingerprint(folder),
            "regions": model.regions,
            "segmenter": self.segmenter,
            "data": self.data,
            "ask": self.ask,
            "longest": self.longest,
            "options": self.options.captured(),
        }


def measure_focus(
    run: FocusRun,
    questions: Sequence[FocusQuestion],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure what is not measured yet, and score all samples.

    Bad questions (a missing picture, an unusable mask, an empty answer) are set aside with the
    reason. Whatever stops the run, the same call goes on.

    Args:
        run: what is measured.
        questions: its questions.
        tick: called after each question of each model.

    Returns:
        What `focus.json` holds: `options`, and `models` by name with the entries of `focus_table`,
        `rescaled` (masks of another size than their picture) and `set_aside` (id -> reason).

    Raises:
        ValueError: If two models have one name, a model cannot be opened or its attention not be
            kept, its file has samples of other settings, or no question could be measured.
    """
    stems = [slug(model.title, always_plain=True) for model in run.models]
    if len(set(stems)) < len(stems):
        raise ValueError(f"the files of two models would have one name: {stems}; say NAME=FOLDER")
    files = {}
    with folder_lease(run.out):
        for stem, model in zip(stems, run.models, strict=True):
            path = run.out / f"{stem}.jsonl"
            file = SampleFile.open(path, run.settings_of(model), overwrite=run.overwrite)
            files[model.title] = file
            _measure(run, model, questions, file, tick)
        report = _report(run, {question.id for question in questions}, files)
        with replacing(run.out / RESULTS) as temporary:
            temporary.write_text(strict_json(report, indent=1) + "\n", encoding="utf-8")
    return report


def _measure(
    run: FocusRun,
    model: ComparedModel,
    questions: Sequence[FocusQuestion],
    file: SampleFile,
    tick: Callable[[], None],
) -> None:
    """Add to a file the samples that it lacks; the model is opened if there are any."""
    waiting = []
    for question in questions:
        if question.id in file.samples:
            tick()
        else:
            waiting.append(question)
    if not waiting:
        return
    opened = model.open(segmenter=run.segmenter, device=run.device)
    with watch(opened.model):
        pass  # a model whose attention cannot be kept is refused once, and not with each question
    for outcome in _outcomes(opened, waiting, run):
        file.add(outcome)
        tick()
    if not file.samples:
        first = next(iter(file.set_aside.values()))
        raise ValueError(f"none of {len(waiting)} questions could be measured; the first: {first}")


def _outcomes(
    opened: ConversationModel, questions: Iterable[FocusQuestion], run: FocusRun
) -> Iterator[dict[str, Any]]:
    """The line of each question."""
    asked: set[str] = set()
    image = ""
    for question in questions:
        if question.image != image:
            opened.forget()
        image = question.image
        try:
            if question.id in asked:
                raise ValueError(f"{question.image}: a second question has the id {question.id}")
            asked.add(question.id)
            yield measure_question(opened, question, run.options, run.longest)
        except (ValueError, OSError) as error:
            yield {"id": question.id, "error": " ".join(str(error).split())}


def measure_question(
    opened: ConversationModel, question: FocusQuestion, options: FocusOptions, longest: int
) -> dict[str, Any]:
    """The line of one question: its `FocusSample`, and the size of masks that were rescaled.

    Raises:
        ValueError: If the picture, its masks or the answer are of no use.
    """
    picture = question.picture()
    annotated = question.annotation(picture, options.annotation)
    if options.answer == "gold" and not question.gold:
        raise NoAnswer(f"{question.image}: the data hold no answer to this question")
    text = {"type": "text", "text": question.question}
    messages = [{"role": "user", "content": [{"type": "image"}, text]}]
    prepared = opened.prepare(messages, [picture])
    (shown,) = prepared.pictures
    overlaps = token_overlaps(shown, annotated.mask, options.support)
    attention = answer_attention(
        opened,
        prepared,
        question.gold if options.answer == "gold" else None,
        rows=options.rows,
        end=options.end,
        capture=options.capture,
        longest=longest,
    )
    sample = focus_sample(
        attention.rows,
        shown.tokens,
        overlaps,
        options,
        id=question.id,
        image=question.image,
        question=question.question,
        answer=attention.text,
    )
    return {**sample.line(), "rescaled_from": annotated.rescaled_from}


def _report(run: FocusRun, asked: set[str], files: Mapping[str, SampleFile]) -> dict[str, Any]:
    lines = {
        name: [line for id, line in file.samples.items() if id in asked]
        for name, file in files.items()
    }
    samples = {name: list(map(FocusSample.of_line, each)) for name, each in lines.items()}
    table = focus_table(samples, run.options)
    return {
        "command": "focus",
        "data": run.data,
        "options": run.options.settings(),
        "models": {
            name: {
                **table[name],
                "rescaled": sum(bool(line["rescaled_from"]) for line in lines[name]),
                "set_aside": file.set_aside,
                "settings": file.settings,
            }
            for name, file in files.items()
        },
    }
