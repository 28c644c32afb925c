"""One record in LLaVA's form: a conversation about no, one or several pictures.

After: LLaVA-1.5's data (`llava_v1_5_mix665k.json`: id, image, conversations of from and value);
rows D13, O4.
Differs: a record that does not fit is an error with its reason. A message with one `<image>` gets
it in front, as LLaVA's own preprocessing does; several stay where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError
from regiontok.system.names import as_on_disk

IMAGE = "<image>"
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


# What a record may hold beside pictures, and what to do with it.
OTHER_MEDIA = {
    "video": "name frames of it under images, with one <image> each, or leave the record out",
    "audio": "write down what is said, or leave the record out",
}
# Files that a record without pictures names under a key that nothing reads.
_MEDIA_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"),
    *(".mp4", ".mkv", ".webm", ".mov", ".avi", ".wav", ".mp3", ".flac", ".ogg", ".m4a"),
)


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
            RecordError: If the object is not of that form, the roles do not alternate, there is
                another number of `<image>` than of images, or it holds what is not trained on: a
                video, audio, half a character.
        """
        if not isinstance(row, Mapping) or not isinstance(row.get("conversations"), list):
            raise RecordError("not an object with a list of conversations")
        _refuse_other_media(row)
        turns = _alternating([_turn(message) for message in row["conversations"]])
        images = _images(row)
        placeholders = sum(turn.text.count(IMAGE) for turn in turns)
        if placeholders != len(images):
            raise RecordError(
                f"{placeholders} {IMAGE} in the conversation, but {len(images)} images"
            )
        paths = tuple(image if folder is None else _inside(folder, image) for image in images)
        return cls(record_id(row, number), paths, turns)


def record_id(row: Any, number: int) -> str:
    """The id of a record as text that can be printed; its number if it has none.

    >>> record_id({"id": "7"}, 3), record_id({"id": "\\ud83d"}, 3), record_id([], 3)
    ('7', '?', '3')
    """
    name = row.get("id") if isinstance(row, Mapping) else None
    return str(number if name is None else name).encode("utf-8", "replace").decode("utf-8")


def _images(row: Mapping[str, Any]) -> list[str]:
    """The images of a record, which stand under `image` or `images`."""
    given_under = [key for key in ("image", "images") if row.get(key) is not None]
    if len(given_under) > 1:
        raise RecordError("both image and images: name all of them under one")
    images = row[given_under[0]] if given_under else []
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(
        isinstance(image, str) and image for image in images
    ):
        raise RecordError("image is neither a path nor a list of paths")
    if not images:
        for key in _keys_of_files(row):
            raise RecordError(f"{key!r} names a file that is not read: images stand under image")
    return images


def _keys_of_files(row: Mapping[str, Any]) -> Iterator[str]:
    """The keys, other than the id, under which a record names files of pictures or sound."""
    for key, value in row.items():
        names = value if isinstance(value, list) else [value]
        if key != "id" and any(
            isinstance(name, str) and name.lower().endswith(_MEDIA_SUFFIXES) for name in names
        ):
            yield key


def _refuse_other_media(holder: Mapping[str, Any]) -> None:
    """Raise if a record, or a message, holds a video or audio."""
    for kind, advice in OTHER_MEDIA.items():
        if any(holder.get(key) for key in (kind, f"{kind}s")):
            raise RecordError(f"it has {kind}, which is not trained on: {advice}")


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping) or not isinstance(message.get("value"), str):
        raise RecordError("a message without from and value")
    _refuse_other_media(message)
    if message.get("image") or message.get("images"):
        raise RecordError("a message names images of its own: they stand in the record's image")
    role = ROLES.get(str(message.get("from")))
    if role is None:
        raise RecordError(
            f"unknown speaker{nearest(str(message.get('from')), ROLES)}; known: {', '.join(ROLES)}"
        )
    text = message["value"]
    _check_characters(text)
    for kind, advice in OTHER_MEDIA.items():
        if role == "user" and text.lstrip().startswith(f"<{kind}>"):
            raise RecordError(f"it begins with <{kind}>, which is not trained on: {advice}")
    if role != "user" and IMAGE in text:
        raise RecordError(f"{IMAGE} in a message of {role}")
    if role == "user" and text.count(IMAGE) == 1:
        text = f"{IMAGE}\n{text.replace(IMAGE, '').strip()}".strip()
    if not text.strip():
        raise RecordError(f"an empty message of {role}")
    return Turn(role, text)


def _check_characters(text: str) -> None:
    """Raise if a text holds half a character, which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RecordError(
            "half a character (a lone surrogate such as \\ud83d, left of an emoji that was cut)"
        ) from None


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
    try:
        os.fsencode(image)
    except UnicodeEncodeError:
        raise RecordError("image path is no file name (a lone surrogate)") from None
    return str(as_on_disk(folder / relative))
