"""Where each word of an answer looks, as a figure: a row a model, a column a word.

After: diagnostic study, figures 1 and 8 (row D18): attention over regions by method, the global
token as the letter G.
Differs: the study does not say which of the answer's tokens, layers and heads it shows. Here the
rows of a word are those of its own tokens, averaged over layers and heads, or over chosen ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from regiontok.conversation import ConversationModel, PictureTokens
from regiontok.core.picture import Picture
from regiontok.draw.figure import Figure, Panel, panel_side
from regiontok.draw.sheet import scaled
from regiontok.evaluation.focus import chosen_rows
from regiontok.jobs.chat.command import drawn_base_view
from regiontok.jobs.chat.comparison import AskedQuestion, ComparedModel, ask_each
from regiontok.model.answer_attention import NoAnswer, answer_attention, words_of
from regiontok.model.region_attention import RegionAttention, region_attention

MOST_WORDS = 6


@dataclass(frozen=True, kw_only=True)
class WordOptions:
    """Which rows of an answer are shown.

    Attributes:
        layers, heads: those that count, negative ones from the end; empty for all.
        gold: whether the expected answer is read behind the question, and not the model's own.
        longest: tokens of the model's own answer at most.
        most: most words that get a column.
    """

    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    gold: bool = False
    longest: int = 32
    most: int = MOST_WORDS


@dataclass(frozen=True, eq=False)
class WordAttention:
    """Where the words of one answer look.

    Attributes:
        answer: the answer.
        shown: the picture and its tokens; None if the model's tokens are of no region.
        whole: the shares of the whole answer.
        words: (word, shares) of each word.
    """

    answer: str
    shown: PictureTokens | None
    whole: RegionAttention | None
    words: tuple[tuple[str, RegionAttention], ...]

    def report(self) -> dict[str, Any]:
        """The words, each with its share of attention on regions, G and CLS."""
        return {
            "answer": self.answer,
            "words": [
                {
                    "word": word,
                    "regions": round(float(view.regions.sum()), 6),
                    "whole": round(view.whole, 6),
                    "cls": round(view.cls, 6),
                }
                for word, view in self.words
            ],
        }


def word_attention(
    model: ConversationModel, asked: AskedQuestion, options: WordOptions
) -> WordAttention:
    """Where the words of a model's answer look.

    Raises:
        ValueError: If there is no such layer or head, the model's attention cannot be kept, or the
            expected answer is wanted and not known.
    """
    if options.gold and not asked.expected:
        raise ValueError(f"{asked.picture.name}: say the answer whose words are read: --expected")
    text = {"type": "text", "text": model.phrasing.put(asked.question).prompt}
    messages = [{"role": "user", "content": [{"type": "image"}, text]}]
    prepared = model.prepare(messages, [asked.picture])
    (shown,) = prepared.pictures
    gold = asked.expected if options.gold else None
    try:
        attention = answer_attention(model, prepared, gold, longest=options.longest)
    except NoAnswer:
        return WordAttention("", None, None, ())
    if not shown.regions:
        return WordAttention(attention.text, None, None, ())
    rows = chosen_rows(attention.rows, options.layers, options.heads)

    def shares(index: Sequence[int]) -> RegionAttention:
        return region_attention(rows[:, :, index], shown.tokens, len(shown.regions[0]))

    words = tuple((word, shares(index)) for word, index in words_of(attention.pieces))
    return WordAttention(attention.text, shown, shares(range(rows.shape[2])), words)


@dataclass(frozen=True, eq=False)
class WordComparison:
    """Several models' answers to the same questions, word by word.

    Attributes:
        models: the models.
        questions: the questions.
        answers: for each model, its answer to each question.
    """

    models: Sequence[ComparedModel]
    questions: Sequence[AskedQuestion]
    answers: Sequence[Sequence[WordAttention]]

    def report(self) -> list[dict[str, Any]]:
        """Question by question: the words of each model's answer."""
        return [
            {
                "image": asked.picture.name,
                "question": asked.question,
                "answers": [
                    {"model": model.title, **answers[index].report()}
                    for model, answers in zip(self.models, self.answers, strict=True)
                ],
            }
            for index, asked in enumerate(self.questions)
        ]


def compare_words(
    models: Sequence[ComparedModel],
    questions: Sequence[AskedQuestion],
    options: WordOptions,
    *,
    device: str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> WordComparison:
    """Ask every model every question; one model is in memory at a time.

    Args:
        models: the models.
        questions: the questions.
        options: what is shown.
        device: where models run.
        tick: called after each answer.

    Raises:
        ValueError: If there is no model or no question, two models would stand in one place, a
            model cannot be opened, or see `word_attention`.
    """

    def ask(model: ConversationModel, asked: AskedQuestion) -> WordAttention:
        return word_attention(model, asked, options)

    answers = ask_each(models, questions, ask, device=device, tick=tick)
    return WordComparison(models, questions, answers)


def words_figure(
    comparison: WordComparison, options: WordOptions, *, letters: bool = False
) -> Figure:
    """Each question's photo, then a row a model: the whole answer, and each of its words.

    Args:
        comparison: the answers.
        options: what is shown.
        letters: whether to put (a), (b) ... over the columns.

    Raises:
        ValueError: If no answer has a word and regions to draw.
    """
    most = max((len(answer.words) for row in comparison.answers for answer in row), default=0)
    if not most:
        raise ValueError("no answer has a word that looks at regions: nothing to draw")
    columns = min(most, options.most)
    side = panel_side(columns + 2)
    rows: list[list[Panel | None]] = []
    titles = []
    for number, asked in enumerate(comparison.questions):
        photo = Panel(scaled(asked.picture, side), caption=asked.question)
        for model, answers in zip(comparison.models, comparison.answers, strict=True):
            panels = _panels(answers[number], asked.picture, columns, side)
            rows.append([photo, *panels])
            titles.append(model.title)
    heads = ["photo", "answer", *(f"word {index + 1}" for index in range(columns))]
    return Figure(rows, heads, titles, note=_note(options), letters=letters)


def _panels(answer: WordAttention, picture: Picture, columns: int, side: int) -> list[Panel | None]:
    shown = answer.shown
    if shown is None or answer.whole is None:
        return [None] * (columns + 1)
    drawn = [(answer.answer, answer.whole), *answer.words[:columns]]
    panels: list[Panel | None] = [
        Panel(
            drawn_base_view(picture, shown, view, side),
            caption=text,
        )
        for text, view in drawn
    ]
    return panels + [None] * (columns + 1 - len(panels))


def _note(options: WordOptions) -> str:
    def named(noun: str, indices: Sequence[int]) -> str:
        return f"{noun}s {', '.join(map(str, indices))}" if indices else f"all {noun}s"

    return (
        "Orange: a region's share of the attention of a word's own tokens (mean over "
        f"{named('layer', options.layers)} and {named('head', options.heads)}) by its area, "
        "against the largest of the picture. G: the token of the whole image."
    )
