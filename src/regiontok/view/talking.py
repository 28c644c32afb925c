"""Live conversations about photos, with what each word of an answer looked at.

Answers come as JSON lines: pieces of text as they are made, then the words with their attention.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from regiontok.conversation import ConversationModel
from regiontok.core.picture import Picture
from regiontok.jobs.chat.session import Chat
from regiontok.jobs.kept_attention import KeptAttention
from regiontok.model.conversation import open_conversation_model
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.need import need
from regiontok.system.printable import printable
from regiontok.system.strict_json import json_bytes, parse_json
from regiontok.view.attention_data import attention_data
from regiontok.view.collection import Collection

KEPT = 8  # conversations; the one that was quiet longest goes first
LONGEST_BODY = 1 << 16  # bytes of a request
LONGEST_QUESTION = 4000  # characters


@dataclass
class Talking:
    """Conversations of several pages with one model, which answers one question at a time.

    Attributes:
        collection: the photos.
        model: the model.
        longest: tokens of an answer at most.
    """

    collection: Collection
    model: ConversationModel
    longest: int = 256
    _chats: OrderedDict[tuple[str, int], Chat] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls, collection: Collection, name: str, *, template: str = "", device: str = "cpu"
    ) -> Talking:
        """Load a model by its folder or its hub name; see `open_conversation_model`."""
        return cls(collection, open_conversation_model(name, template=template, device=device))

    async def respond(self, request: Any) -> Any:
        """Answer one question of a page."""
        responses = need("starlette.responses", extra="view")
        try:
            number, talk, question = _asked(await request.body())
            picture = self.collection.seen(number)
            if not isinstance(picture, Picture):
                raise ValueError("a question is about a photo, not about a clip")
        except KeyError:
            return responses.JSONResponse({"error": "there is no such photo"}, status_code=404)
        except (ValueError, OSError) as error:
            line = printable(first_line(error))
            return responses.JSONResponse({"error": line}, status_code=422)
        lines = self._lines((talk, number), picture, question)
        return responses.StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(
        self, talk: tuple[str, int], picture: Picture, question: str
    ) -> AsyncIterator[bytes]:
        """The lines of an answer; a page that goes away stops the model at its next word."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()
        gone = threading.Event()

        def put(line: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, line)

        def say(piece: str) -> None:
            if gone.is_set():
                raise KeyboardInterrupt
            put({"piece": piece})

        def work() -> None:
            try:
                put(self.answer(talk, picture, question, say))
            except (RegiontokError, ValueError, RuntimeError) as error:
                put({"error": printable(first_line(error))})
            finally:
                put(None)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (line := await queue.get()) is not None:
                yield json_bytes(line)
        finally:
            gone.set()

    def answer(
        self,
        talk: tuple[str, int],
        picture: Picture,
        question: str,
        say: Callable[[str], None] = lambda piece: None,
    ) -> dict[str, Any]:
        """Ask the model, and return the last line: words, and what each looked at.

        Args:
            talk: which conversation, and about which item.
            picture: the photo of a new conversation.
            question: the question.
            say: takes the pieces of the answer.
        """
        with self._lock:
            if talk not in self._chats:
                self._chats[talk] = Chat(self.model, self.longest)
                self._chats[talk].show(picture)
                while len(self._chats) > KEPT:
                    self._chats.popitem(last=False)
                    self.model.forget()
            self._chats.move_to_end(talk)
            words = self._chats[talk].ask(question, say).by_word
            return attention_data(KeptAttention.of(words))


def _asked(body: bytes) -> tuple[int, str, str]:
    """The item, the conversation and the question of a request.

    Raises:
        ValueError: If the request holds anything else.
    """
    if len(body) > LONGEST_BODY:
        raise ValueError(f"a request of {len(body)} bytes is too long")
    content = parse_json(body)
    names = ("item", "talk", "question")
    if not isinstance(content, dict) or not all(name in content for name in names):
        raise ValueError(f"a question is an object of {', '.join(names)}")
    number, talk, question = (content[name] for name in names)
    if type(number) is not int or not isinstance(talk, str) or not isinstance(question, str):
        raise ValueError("item is a number, talk and question are texts")
    if not question.strip() or len(question) > LONGEST_QUESTION or len(talk) > 64:
        raise ValueError(f"a question has 1 to {LONGEST_QUESTION} characters")
    return number, talk, question.strip()
