"""Several models asked the same: where their answers look, and what they say, as figures.

After: diagnostic study, figures 1, 6 (right) and 8, supplement's figures 1 (right) and 3 (row D18):
attention by method, and before and after normalisation, for each encoder. OG-LLaVA, figures 1 and
13 to 16 (row O12): answers side by side.
Differs: the letter G has the share of the whole-image token written under it. Whether an answer is
marked as right goes by the words of the expected one, not by a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from regiontok.conversation import ConversationModel
from regiontok.core.picture import Picture
from regiontok.draw.figure import Figure, Panel, panel_side
from regiontok.draw.sheet import scaled
from regiontok.jobs.chat.command import drawn_base_view
from regiontok.jobs.chat.session import Chat, ChatAnswer
from regiontok.model.conversation import open_conversation_model

RIGHT, WRONG = "✓", "✗"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ComparedModel:
    """One model of a comparison.

    Attributes:
        name: what it is called, which heads its column.
        row: the row it stands in ("" where all models share one), such as its encoder.
        source: folder or hub name.
        regions: for a released model, the steps inside it.
        revision: branch, tag or commit of a hub name.
    """

    name: str
    row: str
    source: str
    regions: str = ""
    revision: str = ""

    @property
    def title(self) -> str:
        """What it is called in results: row and name.

        >>> ComparedModel.of("CLIP/RMSNorm=runs/rms").title
        'CLIP/RMSNorm'
        """
        return "/".join(filter(None, (self.row, self.name)))

    @classmethod
    def of(cls, text: str, revision: str = "") -> ComparedModel:
        """A model from its text on a command line: ``[ROW/]NAME=SOURCE[::REGIONS]``, or a source.

        Raises:
            ValueError: If there is no source, or no name before the "=".

        >>> model = ComparedModel.of("CLIP/RMSNorm=runs/rms/2_tuning")
        >>> model.row, model.name, model.source
        ('CLIP', 'RMSNorm', 'runs/rms/2_tuning')
        >>> ComparedModel.of("llava-hf/llava-1.5-7b-hf::merge(0.7)").name
        'llava-1.5-7b-hf merge(0.7)'
        """
        before_steps, _, regions = text.partition("::")
        name, equals, source = before_steps.partition("=")
        if not equals:
            name, source = "", before_steps
        row, slash, column = name.partition("/")
        if not slash:
            row, column = "", name
        if not source or (equals and not column):
            raise ValueError(f"expected [ROW/]NAME=FOLDER[::REGIONS], got {text!r}")
        name = column or f"{Path(source).name} {regions}".strip()
        return cls(name, row, source, regions, revision)

    def open(self, *, segmenter: str = "", device: str = "cpu") -> ConversationModel:
        """Load it; see `open_conversation_model`."""
        return open_conversation_model(
            self.source,
            regions=self.regions,
            segmenter=segmenter,
            revision=self.revision,
            device=device,
        )


@dataclass(frozen=True, eq=False)
class AskedQuestion:
    """A question about a picture.

    Attributes:
        picture: the picture.
        question: the question.
        expected: the right answer; "" if it is not known.
    """

    picture: Picture
    question: str
    expected: str = ""

    def mark(self, answer: str) -> str:
        """A mark for an answer that says the expected one, or does not; "" if none is known."""
        if not self.expected:
            return ""
        said = f" {_plain(self.expected)} " in f" {_plain(answer)} "
        return RIGHT if said else WRONG


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answers of several models to the same questions.

    Attributes:
        models: the models.
        questions: the questions.
        answers: for each model, its answer to each question.
    """

    models: Sequence[ComparedModel]
    questions: Sequence[AskedQuestion]
    answers: Sequence[Sequence[ChatAnswer]]

    def report(self) -> list[dict[str, Any]]:
        """Question by question: what each model said, and where it looked."""
        return [
            {
                "image": asked.picture.name,
                "question": asked.question,
                "expected": asked.expected or None,
                "answers": [
                    {
                        "model": model.title,
                        "right": {RIGHT: True, WRONG: False}.get(asked.mark(answers[index].text)),
                        **answers[index].report(),
                    }
                    for model, answers in zip(self.models, self.answers, strict=True)
                ],
            }
            for index, asked in enumerate(self.questions)
        ]


def questions_about(
    pictures: Sequence[Picture], questions: Sequence[str], expected: Sequence[str]
) -> list[AskedQuestion]:
    """One question a picture.

    Args:
        pictures: the pictures.
        questions: one for all of them, or one for each.
        expected: the right answer of each, or none.

    Raises:
        ValueError: If there are other numbers of questions or answers.
    """
    if len(questions) == 1:
        questions = list(questions) * len(pictures)
    if len(questions) != len(pictures) or len(expected) not in (0, len(pictures)):
        raise ValueError(
            f"{len(pictures)} photos want one question or as many, and no expected answers or as "
            f"many; got {len(questions)} questions and {len(expected)} answers"
        )
    answers = expected or [""] * len(pictures)
    return [
        AskedQuestion(picture, question, answer)
        for picture, question, answer in zip(pictures, questions, answers, strict=True)
    ]


def ask_each(
    models: Sequence[ComparedModel],
    questions: Sequence[AskedQuestion],
    ask: Callable[[ConversationModel, AskedQuestion], Answer],
    *,
    device: str,
    tick: Callable[[], None],
) -> list[list[Answer]]:
    """What `ask` gives for every model and every question; one model is in memory at a time.

    Raises:
        ValueError: If there is no model or no question, two models would stand in one place of the
            figure, or a model cannot be opened.
    """
    check_places(models, questions)
    answers = []
    for model in models:
        opened = model.open(device=device)
        row = []
        for asked in questions:
            row.append(ask(opened, asked))
            opened.forget()
            tick()
        answers.append(row)
    return answers


def compare(
    models: Sequence[ComparedModel],
    questions: Sequence[AskedQuestion],
    *,
    longest: int = 32,
    device: str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> Comparison:
    """Ask every model every question; one model is in memory at a time.

    Args:
        models: the models.
        questions: the questions.
        longest: tokens of an answer at most.
        device: where models run.
        tick: called after each answer.

    Raises:
        ValueError: If there is no model or no question, a model cannot be opened, or two models
            would stand in one place of the figure.
    """

    def ask(model: ConversationModel, asked: AskedQuestion) -> ChatAnswer:
        session = Chat(model, longest)
        session.show(asked.picture)
        return session.ask(asked.question)

    answers = ask_each(models, questions, ask, device=device, tick=tick)
    return Comparison(models, questions, answers)


def check_places(models: Sequence[ComparedModel], questions: Sequence[AskedQuestion]) -> None:
    """Raise if there is nothing to compare, or two models would stand in one place of the figure.

    Raises:
        ValueError: If that is so.
    """
    if not models or not questions:
        raise ValueError("a comparison needs at least one model and one question about a picture")
    places = [(model.row, model.name) for model in models]
    if len(set(places)) < len(places):
        raise ValueError(f"two models have one name: {places}; say [ROW/]NAME=FOLDER")


def attention_figure(comparison: Comparison, *, letters: bool = False) -> Figure:
    """Where answers look: a row for each row of the models and each question, a column a model.

    A place where no attention could be kept stays empty.

    Args:
        comparison: the answers.
        letters: whether to put (a), (b) ... over the columns.
    """
    rows = list(dict.fromkeys(model.row for model in comparison.models))
    names = list(dict.fromkeys(model.name for model in comparison.models))
    place = {(model.row, model.name): index for index, model in enumerate(comparison.models)}
    side = panel_side(len(names) + 1)
    panels: list[list[Panel | None]] = []
    titles = []
    for row in rows:
        for number, asked in enumerate(comparison.questions):
            chosen = [place.get((row, name)) for name in names]
            panels.append(
                [
                    Panel(scaled(asked.picture, side), caption=asked.question),
                    *(
                        None
                        if index is None
                        else _attention_panel(comparison.answers[index][number], asked, side)
                        for index in chosen
                    ),
                ]
            )
            titles.append(row)
    note = (
        "Orange: a region's share of the answer's attention (mean over answer tokens, heads and "
        "layers) by its area, against the largest of the picture. G: the token of the whole image."
    )
    return Figure(panels, ["photo", *names], titles, note=note, letters=letters)


def answers_figure(comparison: Comparison, *, columns: int = 4, letters: bool = False) -> Figure:
    """What models say, side by side: the photos, each with the question and all answers under it.

    Args:
        comparison: the answers.
        columns: photos of a row.
        letters: whether to put (a), (b) ... over the columns.
    """
    columns = min(columns, len(comparison.questions))
    side = panel_side(columns)
    panels: list[Panel | None] = [
        Panel(scaled(asked.picture, side), caption=_answers_caption(comparison, number))
        for number, asked in enumerate(comparison.questions)
    ]
    panels += [None] * (-len(panels) % columns)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    return Figure(rows, [""] * columns, [""] * len(rows), letters=letters)


def _answers_caption(comparison: Comparison, number: int) -> str:
    asked = comparison.questions[number]
    lines = [asked.question]
    for model, answers in zip(comparison.models, comparison.answers, strict=True):
        text = answers[number].text or "(nothing)"
        name = " ".join(filter(None, (model.row, model.name)))
        lines.append(f"{name}: {text} {asked.mark(text)}".strip())
    if asked.expected:
        lines.append(f"expected: {asked.expected}")
    return "\n".join(lines)


def _attention_panel(answer: ChatAnswer, asked: AskedQuestion, side: int) -> Panel | None:
    if not answer.attention:
        return None
    attention = answer.attention[0]
    shown, view = attention.picture, attention.first_view
    image = drawn_base_view(shown.picture, shown, view, side)
    return Panel(image, caption=f"{answer.text or '(nothing)'} {asked.mark(answer.text)}".strip())


def _plain(text: str) -> str:
    """Lower-case words alone."""
    alphanumeric = "".join(char if char.isalnum() else " " for char in text.lower())
    return " ".join(alphanumeric.split())
