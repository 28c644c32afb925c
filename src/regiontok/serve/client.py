"""A client of a vLLM server that has a language model alone: prompts go as rows, over HTTP.

The server: `python -m vllm.entrypoints.openai.api_server --model OUT --enable-prompt-embeds`, where
`regiontok export --as-lm OUT` wrote the language model. What the server would take without a word
(numbers that are no numbers, integers) or die of is refused here, before it is sent.

After: vLLM 0.32's `prompt_embeds` of /v1/completions and /v1/chat/completions.
Differs: nothing known.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib import error, request

import torch

from regiontok.conversation import Message
from regiontok.released.messages import IMAGE_TYPES
from regiontok.serve.prompt_rows import PromptWriter, UnusablePrompt
from regiontok.serve.row_checks import check_rows
from regiontok.system.errors import RegiontokError, first_line

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

PART = "prompt_embeds"  # what vLLM calls a part of a message that holds rows
MARK = "<prompt_embeds>"  # what its server puts in their place; it refuses the word in a text


class ServerRefusal(RegiontokError, ValueError):
    """A server refused a request, answered with something else, or is not there."""


def encoded(rows: Float[Tensor, "k e"]) -> str:
    """Rows as a server takes them: base64 of what `torch.save` writes.

    >>> torch.load(io.BytesIO(base64.b64decode(encoded(torch.ones(1, 2)))), weights_only=True)
    tensor([[1., 1.]])
    """
    archive = io.BytesIO()
    torch.save(rows.detach().cpu().contiguous().clone(), archive)
    return base64.b64encode(archive.getbuffer()).decode()


class ServedLanguageModel:
    """A language model behind a server, asked with pictures' tokens.

    Args:
        address: of the server, such as "http://127.0.0.1:8000".
        writer: writes prompts for its language model.
        model: the name under which the server has it; None asks for the folder that `writer` reads.
        key: the key that the server wants; "" if it wants none.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self,
        address: str,
        writer: PromptWriter,
        *,
        model: str | None = None,
        key: str = "",
        timeout: float = 600.0,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"the address of a server begins with http:// or https://: {address}")
        self.address, self.writer, self.timeout = address.rstrip("/"), writer, timeout
        self.model = str(writer.folder) if model is None else model
        self._key = key

    def complete(
        self,
        prompt: str | Sequence[Message],
        images: Sequence[Float[Tensor, "k e"]] = (),
        *,
        new: int = 64,
        **options: Any,
    ) -> str:
        """The answer to a prompt, of which every row is made here: the ids are those of training.

        Args:
            prompt, images: see `PromptWriter.prompt`.
            new: tokens of the answer at most.
            **options: of vLLM's /v1/completions; greedy unless `temperature` says otherwise.

        Raises:
            UnusablePrompt, UnusableRows: If the prompt cannot be sent, see `PromptWriter.prompt`.
            ServerRefusal: If the server refuses it, or does not answer.
        """
        rows = self.writer.prompt(prompt, images)
        self.writer.check_length(len(rows.ids), new)
        every_row = self.writer.every_row(rows)
        body = {**self._settings(new, options), PART: encoded(every_row)}
        answer = self._post("/v1/completions", body)
        return str(_first_choice(answer, "/v1/completions").get("text", ""))

    def chat(
        self,
        messages: Sequence[Message],
        images: Sequence[Float[Tensor, "k e"]] = (),
        *,
        new: int = 64,
        **options: Any,
    ) -> str:
        """The answer to a conversation that the server lays out by the chat template.

        The server looks up the text's embeddings. Where its layout of a picture and the words
        behind it is not that of training, `complete` is exact and this is not.

        Args:
            messages: with one part `{"type": "image"}` a picture.
            images: the tokens of each picture, in their order.
            new, options: see `complete`; the options are those of /v1/chat/completions.

        Raises:
            UnusablePrompt, UnusableRows, ServerRefusal: See `complete`.
        """
        self.writer.check_length(len(self.writer.prompt(messages, images).ids), new)
        body = {**self._settings(new, options), "messages": with_rows(messages, images)}
        answer = self._post("/v1/chat/completions", body)
        message = _first_choice(answer, "/v1/chat/completions").get("message") or {}
        return str(message.get("content") or "")

    def _settings(self, new: int, options: Mapping[str, Any]) -> dict[str, Any]:
        bias = self.writer.answering().get("logit_bias", {})
        asked = {str(token): value for token, value in (options.get("logit_bias") or {}).items()}
        merged = {**{str(token): value for token, value in bias.items()}, **asked}
        settings = {"model": self.model, "max_tokens": new, "temperature": 0.0, **options}
        return {**settings, **({"logit_bias": merged} if merged else {})}

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        message = request.Request(self.address + path, json.dumps(body).encode(), headers)
        try:
            with request.urlopen(message, timeout=self.timeout) as reply:
                content = reply.read()
        except error.HTTPError as failure:
            raise ServerRefusal(
                f"{self.address}{path} answers {failure.code}: {_reason(failure.read())}"
            ) from None
        except (OSError, error.URLError) as failure:
            raise ServerRefusal(
                f"no server answers at {self.address} ({first_line(failure)})"
            ) from None
        return _parsed(content, self.address + path)


def with_rows(
    messages: Sequence[Message], images: Sequence[Float[Tensor, "k e"]]
) -> list[dict[str, Any]]:
    """Messages for /v1/chat/completions, in which the tokens of pictures stand for their parts.

    Args:
        messages: with one part `{"type": "image"}` a picture.
        images: the tokens of each picture, in their order.

    Raises:
        UnusablePrompt: If there are more or fewer such parts than pictures, or a text holds a word
            by which the server marks rows.
        UnusableRows: If tokens are none, or not finite.
    """
    remaining = list(images)
    for number, values in enumerate(remaining):
        check_rows(values, values.shape[-1] if values.ndim else 0, f"picture {number}")
    laid = [{**message, "content": _with_rows(message, remaining)} for message in messages]
    if remaining:
        raise UnusablePrompt(
            f"{len(remaining)} of {len(images)} pictures have no part of type image"
        )
    return laid


def _with_rows(message: Message, remaining: list[Tensor]) -> Any:
    """The content of one message; the pictures are taken from those that remain."""
    content = message["content"]
    if isinstance(content, str):
        _check_words(content)
        return content
    parts: list[dict[str, Any]] = []
    for content_part in content:
        if content_part.get("type") not in IMAGE_TYPES:
            _check_words(str(content_part.get("text", "")))
            parts.append(dict(content_part))
            continue
        if not remaining:
            raise UnusablePrompt("a part of type image has no picture: give as many as parts")
        parts.append({"type": PART, "data": encoded(remaining.pop(0))})
    return parts


def _check_words(text: str) -> None:
    if MARK in text:
        raise UnusablePrompt(f"a text holds {MARK}, by which the server marks rows: leave it out")


def _first_choice(answer: Mapping[str, Any], path: str) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ServerRefusal(f"{path} answers without a choice: is it a vLLM server?")
    return choices[0]


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerRefusal(f"{where} answers with something else than a JSON object")
    return answer


def _reason(content: bytes) -> str:
    """What a server says of its refusal, in a line."""
    text = content.decode(errors="replace")
    try:
        answer = json.loads(text)
        said = answer["error"]["message"] if "error" in answer else answer["message"]
    except (ValueError, KeyError, TypeError):
        said = text
    return " ".join(str(said).split())[:300] or "no reason"
