"""An expression as a conversation in which the model answers with [SEG], and as ids.

After: LISA (Lai et al., CVPR 2024): the token [SEG] joins the vocabulary, and its place in the
answer is where the mask comes from; LISA's questions and answers.
Differs: LISA puts up to three expressions about one picture into a batch, each a row of its own.
Here several may be blocks of one row, which share the picture and do not see each other: to the
model each is then as if it were alone, and the picture is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from regiontok.data.blocks import SHARED, BlockRow, block_row
from regiontok.data.labels import Labeller
from regiontok.data.record import IMAGE, Turn
from regiontok.miniworld.referring import VOCABULARY
from regiontok.model.mini import SPECIAL
from regiontok.model.splice import IGNORE

SEG = "[SEG]"
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}"
    "{{ eos_token }}{% endgeneration %}{% else %}{{ message['content'] + ' ' }}{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Wording:
    """How an expression is asked about, and how the model answers.

    Attributes:
        questions: texts with `{}` for the expression.
        answers: texts with [SEG] for the mask.

    Raises:
        ValueError: If there is no question or answer, or one lacks its place.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.questions or not self.answers:
            raise ValueError("expected at least one question and one answer")
        for text, place in (
            *((q, "{}") for q in self.questions),
            *((a, SEG) for a in self.answers),
        ):
            if text.count(place) != 1:
                raise ValueError(f"expected {place} once in {text!r}")

    def turns(self, expression: str, draw: int) -> list[Turn]:
        """The conversation about an expression.

        Args:
            expression: the expression.
            draw: a number from 0 on that decides which question and which answer it is.
        """
        question = self.questions[draw % len(self.questions)].replace("{}", expression)
        answer = self.answers[draw // len(self.questions) % len(self.answers)]
        return [Turn("user", f"{IMAGE}\n{question}"), Turn("assistant", answer)]

    @property
    def count(self) -> int:
        """How many conversations there are about an expression."""
        return len(self.questions) * len(self.answers)


LISA = Wording(
    questions=(
        "Can you segment the {} in this image?",
        "Please segment the {} in this image.",
        "What is {} in this image? Please respond with segmentation mask.",
        "What is {} in this image? Please output segmentation mask.",
    ),
    answers=(
        "It is [SEG].",
        "Sure, [SEG].",
        "Sure, it is [SEG].",
        "Sure, the segmentation result is [SEG].",
        "[SEG].",
    ),
)
MINI = Wording(questions=("{}",), answers=("[SEG]",))


def with_seg(tokenizer: Any) -> int:
    """Add [SEG] to a tokenizer's vocabulary, if it is not there, and return its id."""
    if SEG not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(SEG, normalized=False, special=True)], special_tokens=True)
    return int(tokenizer.convert_tokens_to_ids(SEG))


def mini_words() -> PreTrainedTokenizerFast:
    """A tokenizer of the words of generated expressions, with the special ids of `model.mini`.

    >>> tokenizer = mini_words()
    >>> tokenizer.tokenize("<image>\\nthe red circle [SEG]")
    ['<image>', 'the', 'red', 'circle', '[SEG]']
    """
    words = (*SPECIAL, "<unk>", *VOCABULARY)
    inner = Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.Fuse()
    pad, begin, end, image = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        unk_token="<unk>",
        extra_special_tokens={"image_token": image},
    )
    tokenizer.chat_template = _TEMPLATE
    with_seg(tokenizer)
    return tokenizer


@dataclass(frozen=True)
class Rows:
    """Conversations about b pictures as rows of one length, with n expressions in all.

    Attributes:
        ids: `[b l]` one placeholder a picture.
        mask: `[b l]` 1 for a token, 0 for padding.
        labels: `[b l]` the ids that are supervised, `IGNORE` elsewhere.
        row: `[n]` the row of each expression, in order.
        seg: `[n]` the column of [SEG] in that row.
        segments: `[b l]` 0 for a token, -1 for padding; None where each row has one expression.
        blocks: `[b l]` the expression of each token within its row, -1 for what all expressions
            share, and for padding; None where each row has one expression.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor
    row: Tensor
    seg: Tensor
    segments: Tensor | None = None
    blocks: Tensor | None = None

    def to(self, device: torch.device) -> Rows:
        """The rows on a device."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in values.items()
        }
        return Rows(**moved)


class Talk:
    """`talk(expressions, draws)` gives rows.

    Args:
        tokenizer: the language model's, which knows [SEG].
        wording: how expressions are asked about.
        placeholder: the id that stands for a picture.
        template: name of a conversation template; "" is the tokenizer's own.
    """

    def __init__(
        self, tokenizer: Any, wording: Wording, placeholder: int, template: str = ""
    ) -> None:
        self.wording = wording
        self.seg_id = with_seg(tokenizer)
        self._pad = int(tokenizer.pad_token_id or 0)
        self._labeller = Labeller(tokenizer, template, placeholder=placeholder)

    @property
    def identity(self) -> str:
        """A hash of what decides the ids."""
        return self._labeller.identity

    def __call__(
        self,
        expressions: Sequence[str],
        draws: Sequence[int],
        counts: Sequence[int] | None = None,
    ) -> Rows:
        """The rows of expressions, each asked about in the words of its draw.

        Args:
            expressions: all expressions, row by row.
            draws: a number of each; see `Wording.turns`.
            counts: how many expressions each row has; None is one a row.

        Raises:
            RecordError: If a row cannot be made; an expression that holds [SEG] is one reason.
        """
        asked = iter(zip(expressions, draws, strict=True))
        counts = counts or [1] * len(expressions)
        made = [self._row([next(asked) for _ in range(count)]) for count in counts]
        ids = [torch.tensor(row.ids) for row, _ in made]
        is_shared = max(counts) > 1
        return Rows(
            _padded(ids, self._pad),
            _padded([torch.ones_like(row) for row in ids], 0),
            _padded([torch.tensor(row.labels) for row, _ in made], IGNORE),
            torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
            torch.tensor([column for _, columns in made for column in columns]),
            _padded([torch.zeros_like(row) for row in ids], -1) if is_shared else None,
            _padded([torch.tensor(row.blocks) for row, _ in made], SHARED) if is_shared else None,
        )

    def _row(self, asked: Sequence[tuple[str, int]]) -> tuple[BlockRow, list[int]]:
        """One row, with a block for each id, and the column of [SEG] of each expression."""
        first, *others = (self.wording.turns(*pair) for pair in asked)
        turns = list(first)
        for question, answer in others:
            turns += [Turn("user", question.text.removeprefix(f"{IMAGE}\n")), answer]
        row = block_row(turns, self._labeller)
        blocks = row.blocks or [0] * len(row.ids)
        # the last one of an expression is its answer's, whatever the expression says
        last = {
            block: column
            for column, (id_, block) in enumerate(zip(row.ids, blocks, strict=True))
            if id_ == self.seg_id
        }
        return BlockRow(row.ids, row.labels, blocks), [last[block] for block in sorted(last)]


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
