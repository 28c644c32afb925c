"""Arguments of a model as evaluation harnesses pass them: one text, ``name=value,name=value``.

lmms-eval's `--model_args` is cut at commas, also at those inside the parentheses of a spec of
regions; this module cuts it as it is meant.

After: lmms-eval 0.7.3, whose own reader `simple_parse_args_string` is.
Differs: commas inside brackets and quotes divide nothing, quotes around a value are taken off, and
an unknown name or one given twice is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.devices import resolve_device
from regiontok.system.errors import RegiontokError

_OPEN, _CLOSE = "([{", ")]}"


class ModelArgumentsError(RegiontokError, ValueError):
    """The text of a model's arguments cannot be read; the message says where and what to write."""


@dataclass(frozen=True, kw_only=True)
class HarnessArguments:
    """What a harness may say of a model.

    Attributes:
        pretrained: a trained model's folder, or a released model's hub name or folder.
        regions: for a released model, the spec of the regions inside it.
        segmenter: for a released model, the segmenter that the regions want.
        template: for a trained model, another template than the saved one, by name.
        revision: branch, tag or commit of a hub name.
        device: where it runs.
        batch_size: conversations that are answered together.
        max_new_tokens: tokens of an answer at most, where the task says nothing.
    """

    pretrained: str
    regions: str = ""
    segmenter: str = ""
    template: str = ""
    revision: str = ""
    device: str = "auto"
    batch_size: int = 1
    max_new_tokens: int = 1024

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> HarnessArguments:
        """The arguments of these names.

        Raises:
            ModelArgumentsError: If one is unknown, `pretrained` is missing, or a number is none.

        >>> HarnessArguments.of({"pretrained": "run", "batch_size": "4"}).batch_size
        4
        """
        known = {field.name: field.default for field in fields(cls)}
        for name in arguments:
            if name not in known:
                raise ModelArgumentsError(
                    f"model_args has no {name!r}{nearest(name, known)}; known: {', '.join(known)}"
                )
        if not arguments.get("pretrained"):
            raise ModelArgumentsError("model_args needs pretrained=FOLDER_OR_HUB_NAME")
        values: dict[str, Any] = {
            name: _number(name, value) if isinstance(known[name], int) else str(value)
            for name, value in arguments.items()
        }
        return cls(**values)


def _number(name: str, value: Any) -> int:
    text = str(value).strip()
    if not text.isdecimal() or not int(text):
        raise ModelArgumentsError(f"{name} is a whole number from 1 on, got {value!r}")
    return int(text)


def parse_arguments(text: str) -> dict[str, str]:
    """``name=value`` pairs, cut at the commas outside brackets and quotes.

    Raises:
        ModelArgumentsError: If a piece is no such pair, a name stands twice, or a bracket or quote
            stays open.

    >>> parse_arguments("pretrained=llava,regions=segments(0.07) | split(eps=0.7, min_samples=3)")
    {'pretrained': 'llava', 'regions': 'segments(0.07) | split(eps=0.7, min_samples=3)'}
    >>> parse_arguments('regions="merge(k=144)",batch_size=4')
    {'regions': 'merge(k=144)', 'batch_size': '4'}
    """
    pairs: dict[str, str] = {}
    for piece in _pieces(text):
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ModelArgumentsError(f"expected name=value in model_args, got {piece.strip()!r}")
        if name in pairs:
            raise ModelArgumentsError(f"model_args says {name!r} twice")
        pairs[name] = _unquoted(value.strip())
    return pairs


def _pieces(text: str) -> list[str]:
    """The text between the commas outside brackets and quotes; empty pieces are left out."""
    pieces, start, expected, quote = [], 0, [], ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _OPEN:
            expected.append(_CLOSE[_OPEN.index(char)])
        elif char in _CLOSE:
            if not expected or expected.pop() != char:
                raise ModelArgumentsError(f"{char!r} closes nothing in model_args: {text[:index]}")
        elif char == "," and not expected:
            pieces.append(text[start:index])
            start = index + 1
    if quote or expected:
        raise ModelArgumentsError(f"{quote or expected[-1]!r} is missing in model_args: {text}")
    return [piece for piece in [*pieces, text[start:]] if piece.strip()]


def _unquoted(value: str) -> str:
    """A value without the quotes around the whole of it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted and value[0] not in value[1:-1] else value


def on_own_gpu(arguments: HarnessArguments) -> HarnessArguments:
    """The arguments with the GPU of this process, where torchrun or accelerate started several."""
    if launched_processes() == 1 or arguments.device not in ("auto", "cuda"):
        return arguments
    device = resolve_device(arguments.device)
    gpu = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return replace(arguments, device=gpu if device == "cuda" else device)


def launched_processes() -> int:
    """How many processes torchrun or accelerate started; 1 without either."""
    return int(os.environ.get("WORLD_SIZE", "1"))
