"""`regiontok demo`: a model of the package answers questions about a picture that it never saw.

The sheet shows, for each question, the regions that the answer looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.conversation import PutQuestion
from regiontok.core.picture import Picture
from regiontok.data.world import asked
from regiontok.draw.attention import percent
from regiontok.draw.sheet import Panel, column_width, contact_sheet, save_image, scaled
from regiontok.jobs.chat.command import drawn_base_view
from regiontok.jobs.chat.session import Chat, ChatAnswer, ranked
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.world import World
from regiontok.model.conversation import open_conversation_model
from regiontok.system.shipped_models import BEST, ShippedModel, best_model

NUMBER = 46  # of the test split: it allows all of KINDS
KINDS = ("presence_adversarial", "count_all", "colour", "material", "left_or_right", "reading")
SIZE = 192  # pixels, as the models were trained
LONGEST = 16  # tokens of an answer
SHEET, PICTURE = "answers.png", "generated.png"
TITLE = "A generated picture, asked about: orange is what an answer looked at"


@dataclass(frozen=True, eq=False)
class DemoAnswer:
    """A question about the demo's picture with its answer.

    Attributes:
        question: the question.
        answer: what the model said, and where it looked.
    """

    question: WorldQuestion
    answer: ChatAnswer

    @property
    def right(self) -> bool:
        """True if the model said what was expected."""
        reply = self.answer.text.partition(" (")[0] if self.question.options else self.answer.text
        return reply.strip().lower() == self.question.gold.lower()

    @property
    def said(self) -> str:
        """What the model said, a letter with its option behind it."""
        text = self.answer.text.strip()
        put = PutQuestion(self.question.text, tuple(self.question.options))
        return f"{text}{put.meaning(text)}" or "(nothing)"

    def report(self) -> dict[str, Any]:
        """The answer as the command's JSON has it."""
        attention = self.answer.attention
        return {
            "question": self.question.text,
            "answer": self.answer.text,
            "expected": self.question.gold,
            "right": self.right,
            "regions": ranked(attention[0])[:3] if attention else [],
        }


def demo_answers(
    out: Path, *, device: str = "cpu", tick: Callable[[], None] = lambda: None
) -> list[DemoAnswer]:
    """Ask the best model of the package about a generated picture, and draw where it looked.

    The picture is `generated.png`, the sheet `answers.png`.

    Args:
        out: the folder of both.
        device: where the model runs.
        tick: called with each answer.

    Returns:
        The answers; none in an installation without models.
    """
    model = best_model()
    if model is None:
        return []
    world = World("test", size=SIZE)
    made = world[NUMBER]
    picture = Picture.of(made.pixels, name=PICTURE)
    conversation_model = open_conversation_model(str(model.folder), device=device)
    answers = []
    for question in questions_of(world, NUMBER, made, KINDS):
        session = Chat(conversation_model, longest=LONGEST)
        session.show(picture)
        answers.append(DemoAnswer(question, session.ask(asked(question))))
        tick()
    out.mkdir(parents=True, exist_ok=True)
    save_image(scaled(picture, SIZE), out / PICTURE)
    save_image(_sheet(picture, answers, model), out / SHEET)
    return answers


def _sheet(picture: Picture, answers: list[DemoAnswer], model: ShippedModel) -> Any:
    side = column_width(4)
    panels = [Panel(scaled(picture, side), "picture"), *(_panel(each, side) for each in answers)]
    rows = [panels[start : start + 4] for start in range(0, len(panels), 4)]
    name = f"{BEST} = {model.name}"
    subtitle = f"{name}: {model.what}. It answers {model.score:.0f} % of {model.bench}"
    return contact_sheet(rows, title=TITLE, subtitle=subtitle)


def _panel(asked_and_answered: DemoAnswer, side: int) -> Panel:
    """The picture with what one answer looked at."""
    question, answer = asked_and_answered.question, asked_and_answered.answer
    options = f" ({' or '.join(question.options)})" if question.options else ""
    verdict = "right" if asked_and_answered.right else f"wrong: it is {question.answer}"
    caption = f"{question.text}{options}\n{asked_and_answered.said} - {verdict}"
    (attention,) = answer.attention  # of one picture, by a language model that can be watched
    shown, view = attention.picture, attention.first_view
    image = drawn_base_view(shown.picture, shown, view, side)
    looked = f"{percent(view.visual)} of its attention is on the picture"
    return Panel(image, question.kind.replace("_", " "), f"{caption}\n{looked}")
