"""Models as evaluation harnesses ask them: batches of conversations in, counted answers out.

After: nothing published; what lmms-eval 0.7.3 wants of a model.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regiontok.model.conversation import TrainedConversationModel, open_conversation_model
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.messages import rendered
from regiontok.released.vlm import ReleasedVLM
from regiontok.serve.harness_arguments import HarnessArguments
from regiontok.system.devices import resolve_device
from regiontok.system.logs import module_logger

Conversation = Sequence[Mapping[str, Any]]
# what transformers' `generate` takes of a task's generation_kwargs
GENERATION = ("temperature", "top_p", "top_k", "num_beams", "do_sample", "repetition_penalty")
IMAGE_PLACE = "<image>"  # where the text of a plain task has a picture
LENGTHS = ("max_new_tokens", "max_gen_toks", "max_tokens")

_LOG = module_logger(__name__)


@dataclass(frozen=True)
class CountedAnswer:
    """One answer.

    Attributes:
        text: the answer, special tokens left out, cut at the first stop text.
        input_tokens: tokens that the language model read, text and visual.
        output_tokens: tokens that it generated, the one that ended it included.
    """

    text: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Asking:
    """How a batch is answered.

    Attributes:
        options: options of transformers' `generate`.
        until: texts at whose first occurrence an answer is cut.
    """

    options: Mapping[str, Any]
    until: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any], longest: int) -> Asking:
        """What a task's generation_kwargs mean; greedy where they say nothing.

        Args:
            settings: the generation_kwargs. Those that say nothing to a model, such as an
                aspect ratio, are named in the log and left out.
            longest: new tokens at most, where they do not say it.

        >>> Asking.of({"until": ["\\n"], "temperature": 0, "max_new_tokens": 8}, 64).options
        {'max_new_tokens': 8, 'do_sample': False}
        """
        until = settings.get("until") or ()
        lengths = [int(settings[name]) for name in LENGTHS if settings.get(name)]
        options = {name: settings[name] for name in GENERATION if settings.get(name) is not None}
        sampled = bool(options.get("do_sample", options.get("temperature", 0)))
        if not sampled or not options.get("temperature", 1):
            sampled = False
            options = {key: options[key] for key in options if key[:3] not in ("tem", "top")}
        if ignored := sorted(set(settings) - {*GENERATION, *LENGTHS, "until"}):
            _LOG.info("generation_kwargs that mean nothing here: %s", ", ".join(ignored))
        return cls(
            {"max_new_tokens": lengths[0] if lengths else longest, **options, "do_sample": sampled},
            (until,) if isinstance(until, str) else tuple(filter(None, until)),
        )

    def cut(self, text: str) -> str:
        """The text up to the first stop text."""
        ends = [place for stop in self.until if (place := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text


class HarnessModel:
    """A trained or a released model that answers batches of conversations.

    Args:
        arguments: which model, and how it runs.

    Raises:
        ValueError: If there is no such model, or an option belongs to models of the other kind.
    """

    def __init__(self, arguments: HarnessArguments) -> None:
        self.arguments = arguments
        opened = open_conversation_model(
            arguments.pretrained,
            regions=arguments.regions,
            segmenter=arguments.segmenter,
            template=arguments.template,
            revision=arguments.revision,
            device=resolve_device(arguments.device),
        )
        self._trained: tuple[RegionVLM, RegionVLMProcessor] | None = None
        self._released: ReleasedVLM | None = None
        if isinstance(opened, TrainedConversationModel):
            self._trained = opened.model, opened.processor
        else:
            released = opened.model
            assert isinstance(released, ReleasedVLM)
            self._released = released
        self.tokenizer = opened.tokenizer
        self.device = str(next(opened.model.parameters()).device)

    @torch.no_grad()
    def answers(self, conversations: Sequence[Conversation], asking: Asking) -> list[CountedAnswer]:
        """The answers to conversations, in their order, in one batch.

        Args:
            conversations: messages of `role` and `content`; pictures inside as
                ``{"type": "image", "image": ...}``.
            asking: how they are answered.

        Raises:
            ValueError: If a picture or a conversation cannot be read.
        """
        if self._trained is not None:
            new, lengths = _trained_output(*self._trained, conversations, asking)
        else:
            assert self._released is not None
            new, lengths = _released_output(self._released, conversations, asking)
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        pad = self.tokenizer.pad_token_id
        counts = [_without_padding(row, pad) for row in new.tolist()]
        return [
            CountedAnswer(asking.cut(text).strip(), length, count)
            for text, length, count in zip(texts, lengths, counts, strict=True)
        ]


def _trained_output(
    model: RegionVLM,
    processor: RegionVLMProcessor,
    conversations: Sequence[Conversation],
    asking: Asking,
) -> tuple[torch.Tensor, list[int]]:
    """New ids `[b n]` of a trained model, and the tokens that each row read."""
    batch = processor.conversation_batch(list(conversations), None)
    ids = batch["input_ids"].to(model.device)
    mask = batch["attention_mask"].to(model.device)
    pictures = batch.get("pictures")
    tokens = model.see(pictures, settings="answering") if pictures else None
    places = ((ids == model.config.image_token_id) & mask.bool()).sum(1).tolist()
    lengths = [length - count for length, count in zip(mask.sum(1).tolist(), places, strict=True)]
    if tokens is not None:
        visual = tokens.counts.cpu().split(places)
        lengths = [text + int(row.sum()) for text, row in zip(lengths, visual, strict=True)]
    output = model.generate(ids, mask, tokens, **asking.options)
    return output[:, ids.shape[1] :], lengths


def _released_output(
    model: ReleasedVLM, conversations: Sequence[Conversation], asking: Asking
) -> tuple[torch.Tensor, list[int]]:
    """New ids `[b n]` of a released model, and the tokens that each row read."""
    prepared = model.prepare(*rendered(model.processor, list(conversations), None))
    output = model.generate(prepared, **asking.options)
    lengths: list[int] = prepared.attention_mask.sum(1).tolist()
    return output[:, prepared.input_ids.shape[1] :], lengths


def _without_padding(row: Sequence[int], pad: int | None) -> int:
    """Tokens of a row without the padding behind them."""
    count = len(row)
    while count and row[count - 1] == pad:
        count -= 1
    return count


def one_message(text: str, pictures: Sequence[Any]) -> Conversation:
    """A text with pictures as one message.

    Raises:
        ValueError: If the text has places, but not as many as there are pictures.
    """
    pieces = text.split(IMAGE_PLACE)
    if len(pieces) == 1:
        pieces = [*[""] * len(pictures), text]
    if len(pieces) != len(pictures) + 1:
        raise ValueError(
            f"a text has {len(pieces) - 1} places {IMAGE_PLACE} for {len(pictures)} pictures: "
            f"{text[:200]!r}"
        )
    content: list[dict[str, Any]] = []
    for index, piece in enumerate(pieces):
        if index:
            content.append({"type": "image", "image": pictures[index - 1]})
        if piece.strip():
            content.append({"type": "text", "text": piece.strip()})
    return [{"role": "user", "content": content}]


def batches(settings: Sequence[Mapping[str, Any]], size: int) -> Iterator[list[int]]:
    """Indices of requests that are answered together: neighbours with the same settings."""
    batch: list[int] = []
    for index, each in enumerate(settings):
        if batch and (len(batch) == size or each != settings[batch[0]]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
