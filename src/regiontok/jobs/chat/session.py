"""A conversation about pictures: each is encoded once, answers stream, and attention is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from transformers import TextStreamer

from regiontok.conversation import (
    ConversationModel,
    Message,
    PreparedConversation,
)
from regiontok.core.picture import Picture
from regiontok.core.tokens import KINDS
from regiontok.jobs.chat.by_token import token_texts
from regiontok.jobs.tokenize.tables import grid_boxes
from regiontok.model.attention import watch
from regiontok.model.conversation import open_conversation_model
from regiontok.model.picture_attention import (
    AttendedWord,
    PictureAttention,
    attended_words,
    picture_attention,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

STAGES = ("encode", "regions", "prefill", "decode")
TOP = 5  # regions of a JSON line


@dataclass(frozen=True, eq=False, kw_only=True)
class ChatAnswer:
    """One turn of a chat.

    Attributes:
        question: the question.
        text: the answer.
        stopped: True if Ctrl-C ended the answer; the text is what had come.
        tokens: number of tokens, of the prompt by kind, and of the answer.
        seconds: seconds by stage of `STAGES`; a picture is encoded in its first turn only.
        attention: where in each picture the answer looked; empty if no attention could be kept.
        by_word: the same of each word of the answer, in their order.
    """

    question: str
    text: str
    stopped: bool
    tokens: dict[str, int]
    seconds: dict[str, float]
    attention: tuple[PictureAttention, ...] = ()
    by_word: tuple[AttendedWord, ...] = ()

    def report(self) -> dict[str, Any]:
        """The answer as its JSON line has it."""
        return {
            "question": self.question,
            "answer": self.text,
            "stopped": self.stopped,
            "tokens": self.tokens,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "attention": [_attention_json(picture) for picture in self.attention],
        }


@dataclass(frozen=True, eq=False)
class _Turn:
    """The pictures that came with a question, and its answer ("" while it is still to come).

    The question is as the model was asked it.
    """

    pictures: tuple[Picture, ...]
    question: str
    answer: str = ""


@dataclass
class Chat:
    """A conversation: what was said, and about which pictures.

    Attributes:
        conversation_model: the model.
        longest: tokens of an answer at most.
        answers: the turns so far.
        no_attention: why no attention can be kept of this model; "" if it can.
    """

    conversation_model: ConversationModel
    longest: int = 256
    answers: list[ChatAnswer] = field(default_factory=list)
    no_attention: str = ""
    _waiting: tuple[Picture, ...] = ()  # pictures for the next question
    _turns: tuple[_Turn, ...] = ()

    def __post_init__(self) -> None:
        try:
            with watch(self.conversation_model.model):
                pass
        except ValueError as error:
            self.no_attention = str(error)

    def show(self, image: Any) -> Picture:
        """Show a picture with the next question, after those that wait already.

        Raises:
            PictureError: If it cannot be decoded.
        """
        picture = Picture.of(image)
        self._waiting = (*self._waiting, picture)
        return picture

    def reset(self) -> None:
        """Forget what was said; all pictures wait for the next question."""
        pictures = [picture for turn in self._turns for picture in turn.pictures]
        self._waiting = (*pictures, *self._waiting)
        self._turns, self.answers = (), []

    def ask(self, question: str, say: Callable[[str], None] = lambda text: None) -> ChatAnswer:
        """Ask one question.

        The answer goes to `say` piece by piece. KeyboardInterrupt ends the answer, and the turn
        counts.

        Raises:
            ValueError: If the conversation is longer than the model takes, or the model cannot be
                asked that; the conversation stays as it was.
        """
        phrasing = self.conversation_model.phrasing
        put = phrasing.put(question)
        turns = (*self._turns, _Turn(self._waiting, put.prompt))
        pictures = [picture for turn in turns for picture in turn.pictures]
        if phrasing.independent:
            if not pictures:
                raise ValueError("this model is asked about a picture: show one first")
            pictures = pictures[-1:]
            turns = (_Turn(tuple(pictures), put.prompt),)
        prepared = self.conversation_model.prepare(_messages(turns), pictures)
        streamer = _Streamer(self.conversation_model.tokenizer, say)
        start = perf_counter()
        rows, stopped = self._generate(prepared, streamer)
        end = perf_counter()
        first_token = streamer.first_token or end
        reply = "".join(streamer.pieces).strip()
        if meaning := put.meaning(reply):
            say(meaning)
        answer = ChatAnswer(
            question=question,
            text=reply + meaning,
            stopped=stopped,
            tokens=_token_counts(prepared, streamer.count),
            seconds={
                **dict.fromkeys(STAGES, 0.0),
                **prepared.seconds,
                "prefill": first_token - start,
                "decode": end - first_token,
            },
            attention=() if rows is None else picture_attention(prepared, rows),
            by_word=() if rows is None else self._by_word(prepared, rows, streamer.ids),
        )
        self._turns = (*self._turns, _Turn(self._waiting, put.prompt, reply))
        self._waiting = ()
        self.answers.append(answer)
        return answer

    def _by_word(
        self,
        prepared: PreparedConversation,
        rows: Float[Tensor, "layers heads r t"],
        ids: Sequence[int],
    ) -> tuple[AttendedWord, ...]:
        """Where each word of an answer looked; tokens without a row are left out."""
        pieces = token_texts(self.conversation_model.tokenizer, ids)[: rows.shape[2]]
        return attended_words(prepared, rows, pieces)

    def _generate(
        self, prepared: PreparedConversation, streamer: _Streamer
    ) -> tuple[Float[Tensor, "layers heads r t"] | None, bool]:
        """Attention at the visual columns, a row for each new token, and whether it was stopped.

        There is no attention if none could be kept, no picture has a token, or no token came.
        """
        options: dict[str, Any] = {
            "max_new_tokens": self.longest,
            "do_sample": False,
            "num_beams": 1,
            "streamer": streamer,
        }
        stopped, attention_watch = False, None
        with ExitStack() as stack:
            if not self.no_attention:
                watching = watch(self.conversation_model.model, keys=prepared.visual_columns)
                attention_watch = stack.enter_context(watching)
            try:
                prepared.generate(**options)
            except KeyboardInterrupt:
                stopped = True
        if stopped:
            streamer.end()
        if attention_watch is None or not len(prepared.visual_columns) or not streamer.count:
            return None, stopped
        del attention_watch.steps[streamer.count :]  # a step that was stopped half way
        return attention_watch.attention()[:, 0], stopped


class _Streamer(TextStreamer):
    """Passes the text on, and notes when the first token came and how many did."""

    def __init__(self, tokenizer: Any, say: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.pieces: list[str] = []
        self.first_token: float | None = None  # the clock's time
        self.count = 0
        self.ids: list[int] = []
        self._say = say

    def put(self, value: Any) -> None:
        """Take a new token, or the prompt, which is left out."""
        if not self.next_tokens_are_prompt:
            self.first_token = self.first_token or perf_counter()
            self.count += 1
            self.ids += value.flatten().tolist()
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Take a piece of the answer."""
        self.pieces.append(text)
        if text:
            self._say(text)


def _messages(turns: Sequence[_Turn]) -> list[Message]:
    """The conversation as chat templates take it; the last answer is still to come."""
    messages: list[Message] = []
    for turn in turns:
        images = [{"type": "image"} for _ in turn.pictures]
        question = {"type": "text", "text": turn.question}
        answer = {"type": "text", "text": turn.answer}
        messages.append({"role": "user", "content": [*images, question]})
        messages.append({"role": "assistant", "content": [answer]})
    return messages[:-1]


def _token_counts(prepared: PreparedConversation, new: int) -> dict[str, int]:
    """Tokens of the prompt by kind, and those of the answer."""
    visual = {
        kind: sum(picture.tokens.count(kind) for picture in prepared.pictures) for kind in KINDS
    }
    text = prepared.length - len(prepared.visual_columns)
    present = {kind: count for kind, count in visual.items() if count}
    return {"text": text, **present, "answer": new}


def ranked(attention: PictureAttention) -> list[dict[str, Any]]:
    """All regions of a picture, the most looked at first.

    Each has its share of all attention, and its box in pixels of the picture.
    """
    rows: list[dict[str, Any]] = []
    picture = attention.picture
    for view, regions in enumerate(picture.regions):
        boxes = picture.frames[view].boxes_to_pixels(grid_boxes(regions)).tolist()
        shares = attention.views[view].regions.tolist()
        for region, (share, box) in enumerate(zip(shares, boxes, strict=True)):
            rows.append(
                {
                    **({"view": view} if len(attention.views) > 1 else {}),
                    "region": region,
                    "share": round(share, 6),
                    "box": [round(side, 1) for side in box],
                }
            )
    return sorted(rows, key=lambda row: -row["share"])


def _attention_json(attention: PictureAttention) -> dict[str, Any]:
    view = attention.first_view
    shares = {"visual": view.visual, "whole": view.whole, "cls": view.cls}
    return {
        "image": attention.picture.picture.name,
        **{name: round(share, 6) for name, share in shares.items()},
        "regions": ranked(attention)[:TOP],
    }


def open_chat(
    name: str,
    images: Iterable[Any] = (),
    *,
    regions: str = "",
    segmenter: str = "",
    template: str = "",
    as_trained: bool = False,
    changes: Sequence[str] = (),
    revision: str = "",
    longest: int = 256,
    device: str = "cpu",
) -> Chat:
    """A chat with a model about pictures.

    Args:
        name, regions, segmenter, template, changes, revision, device: see
            `open_conversation_model`.
        as_trained: whether a trained model reads pictures as in training, and not as it is to be
            asked.
        images: pictures for the first question.
        longest: tokens of an answer at most.

    Raises:
        ValueError: If there is no such model, or it has no tokenizer or chat template.
        PictureError: If a picture is missing or damaged; it is found before the model is loaded.
    """
    pictures = [Picture.of(image) for image in images]
    model = open_conversation_model(
        name,
        regions=regions,
        segmenter=segmenter,
        template=template,
        settings="trained" if as_trained else "answering",
        changes=changes,
        revision=revision,
        device=device,
    )
    session = Chat(model, longest)
    for picture in pictures:
        session.show(picture)
    return session
