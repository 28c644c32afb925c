"""One record in LLaVA's form: a conversation about no, one or several pictures.

After: LLaVA-1.5's data (`llava_v1_5_mix665k.json`: id, image, conversations of from and value);
rows D13, O4.
Differs: a record that does not fit is an error with its reason. A message with one `<image>` gets
it in front, as LLaVA's own preprocessing does; several stay where they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.core.formats import SUFFIXES
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
    *SUFFIXES,
    *(".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg"),
    *(".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"),
)
# A picture, video or sound that a text names itself, as Qwen-VL's records do: <img>a.png</img>.
_NAMED_IN_TEXT = re.compile(
    r"<(img|image|video|audio)>\s*[^<>\n]+"
    rf"(?:{'|'.join(map(re.escape, _MEDIA_SUFFIXES))})\s*</"
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
        if key not in ("id", "conversations") and any(map(_is_medium, _texts_in(value))):
            yield key


def _texts_in(value: Any) -> Iterator[str]:
    """The texts in a value, however deep they lie in lists and objects."""
    inside = [value]
    while inside:
        each = inside.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            inside += each.values()
        elif isinstance(each, list):
            inside += each


def _is_medium(text: str) -> bool:
    """True for the name or address of a picture, video or sound, and for one in base64."""
    name = text.split("?")[0].split("#")[0] if "://" in text[:12] else text
    in_base64 = text[:11].lower().startswith(("data:image/", "data:video/", "data:audio/"))
    return in_base64 or name.lower().endswith(_MEDIA_SUFFIXES)


def _refuse_other_media(holder: Mapping[str, Any]) -> None:
    """Raise if a record, or a message, holds a video or audio."""
    for kind, advice in OTHER_MEDIA.items():
        keys = (kind, f"{kind}s", f"{kind}_path", f"{kind}_paths", f"{kind}_url", f"input_{kind}")
        if any(holder.get(key) for key in keys):
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
    if role == "user":
        _refuse_placeholders(text)
    if role != "user" and IMAGE in text:
        raise RecordError(f"{IMAGE} in a message of {role}")
    if role == "user" and text.count(IMAGE) == 1:
        text = f"{IMAGE}\n{text.replace(IMAGE, '').strip()}".strip()
    if not text.strip():
        raise RecordError(f"an empty message of {role}")
    return Turn(role, text)


def _refuse_placeholders(text: str) -> None:
    """Raise if a user's message stands for a video or sound, or names a picture of its own.

    A placeholder stands at its beginning, at its end, or in a line of its own; the tags of an HTML
    page, which end with `</video>`, are words like any others.
    """
    lines = [line.strip() for line in text.splitlines()]
    for kind, advice in OTHER_MEDIA.items():
        placeholder, is_page = f"<{kind}>", f"</{kind}>" in text
        stripped = text.strip()
        if stripped.startswith(placeholder) and not is_page:
            raise RecordError(f"it begins with {placeholder}, which is not trained on: {advice}")
        if not is_page and (stripped.endswith(placeholder) or placeholder in lines):
            raise RecordError(f"it holds {placeholder}, which is not trained on: {advice}")
    if match := _NAMED_IN_TEXT.search(text):
        raise RecordError(
            f"a message names its <{match[1]}> in the text: pictures stand in the record's image"
        )


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
