"""One record in LLaVA's form: a conversation about no, one or several pictures.

After: LLaVA-1.5's data (`llava_v1_5_mix665k.json`: id, image, conversations of from and value);
rows D13, O4.
Differs: a record that does not fit is an error with its reason. A message with one `<image>` gets
it in front, as LLaVA's own preprocessing does; several stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError

IMAGE = "<image>"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


class RecordError(RegiontokError, ValueError):
    """A record that cannot be trained on; the message is its reason, by which it is counted."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: "system", "user" or "assistant".
        text: what is said, with `<image>` where a picture stands.
    """

    role: str
    text: str


@dataclass(frozen=True)
class Record:
    """One conversation about no, one or several pictures.

    Attributes:
        id: the published id, or the record's number in its file.
        images: one image a placeholder, in their order, as `open_picture` takes them: paths, or
            scenes of a generated source.
        turns: an optional system message, then user and assistant in turn, an assistant at the end.

    >>> record = Record.of(
    ...     {
    ...         "id": "7",
    ...         "conversations": [
    ...             {"from": "human", "value": "Hi"},
    ...             {"from": "gpt", "value": "Hello"},
    ...         ],
    ...     }
    ... )
    >>> [turn.role for turn in record.turns], record.images
    (['user', 'assistant'], ())
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, row: Any, *, folder: Path | None = None, number: int = 0) -> Record:
        """A record from LLaVA's form.

        Args:
            row: the JSON object.
            folder: the folder that paths are relative to; None takes them as they are.
            number: the id of a record that has none.

        Raises:
            RecordError: If the object is not of that form, the roles do not alternate, or there is
                another number of `<image>` than of images.
        """
        if not isinstance(row, Mapping) or not isinstance(row.get("conversations"), list):
            raise RecordError("not an object with a list of conversations")
        turns = _alternating([_turn(message) for message in row["conversations"]])
        images = row.get("image")
        images = [] if images is None else [images] if isinstance(images, str) else images
        if not isinstance(images, list) or not all(
            isinstance(image, str) and image for image in images
        ):
            raise RecordError("image is neither a path nor a list of paths")
        placeholders = sum(turn.text.count(IMAGE) for turn in turns)
        if placeholders != len(images):
            raise RecordError(
                f"{placeholders} {IMAGE} in the conversation, but {len(images)} images"
            )
        paths = tuple(image if folder is None else _inside(folder, image) for image in images)
        return cls(str(row.get("id", number)), paths, turns)


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping) or not isinstance(message.get("value"), str):
        raise RecordError("a message without from and value")
    role = ROLES.get(str(message.get("from")))
    if role is None:
        raise RecordError(
            f"unknown speaker{nearest(str(message.get('from')), ROLES)}; known: {', '.join(ROLES)}"
        )
    text = message["value"]
    if role != "user" and IMAGE in text:
        raise RecordError(f"{IMAGE} in a message of {role}")
    if role == "user" and text.count(IMAGE) == 1:
        text = f"{IMAGE}\n{text.replace(IMAGE, '').strip()}".strip()
    if not text.strip():
        raise RecordError(f"an empty message of {role}")
    return Turn(role, text)


def _alternating(turns: list[Turn]) -> tuple[Turn, ...]:
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or [turn.role for turn in spoken] != expected:
        raise RecordError("speakers do not alternate from user to assistant")
    return tuple(turns)


def _inside(folder: Path, image: str) -> str:
    relative = PurePosixPath(image)
    if relative.is_absolute() or ".." in relative.parts or "\0" in image:
        raise RecordError("image path leaves its folder")
    return str(folder / relative)
