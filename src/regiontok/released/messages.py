"""Messages as chat templates take them, and the pictures that stand inside them.

After: the messages of transformers' chat templates, and `image_url` of OpenAI's.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from regiontok.conversation import Message
from regiontok.core.addresses import bytes_of_base64, is_address
from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.tokenizer.images import decode_image, decode_images

IMAGE_KEYS = ("image", "url", "path", "base64")
IMAGE_TYPES = ("image", "image_url")


def is_conversation(value: Any) -> bool:
    """True for a list of messages, and for a list of such lists.

    >>> is_conversation([{"role": "user", "content": "Hi"}]), is_conversation(["photo.jpg"])
    (True, False)
    """
    if not isinstance(value, list | tuple) or not value:
        return False
    first = value[0]
    return is_conversation(first) or (isinstance(first, Mapping) and "role" in first)


def conversations_of(messages: Sequence[Any]) -> list[list[Message]]:
    """One conversation, or several, as a list of them.

    Raises:
        ValueError: If it is neither.
    """
    if not is_conversation(messages):
        raise ValueError(
            "messages are a list of {'role': ..., 'content': ...}, or a list of such lists, not "
            f"{type(messages).__name__}"
        )
    several = isinstance(messages[0], list | tuple)
    conversations = [list(conversation) for conversation in (messages if several else [messages])]
    for conversation in conversations:
        for number, message in enumerate(conversation):
            _check_message(message, number)
    return conversations


def _check_message(message: Any, number: int) -> None:
    content = message.get("content") if isinstance(message, Mapping) else None
    are_parts = isinstance(content, list | tuple) and all(
        isinstance(each, Mapping) for each in content
    )
    if not isinstance(message, Mapping) or "role" not in message:
        raise ValueError(f"message {number} is no {{'role': ..., 'content': ...}}")
    if not isinstance(content, str) and not are_parts:
        raise ValueError(
            f"the content of message {number} is a text or a list of parts such as "
            "{'type': 'text', 'text': ...}, not " + type(content).__name__
        )


@dataclass(frozen=True, eq=False)
class Request:
    """What a model is asked: prompts or messages, and images beside them.

    Attributes:
        images: the images, as they were given.
        prompts: the prompts; None if there are messages.
        messages: a conversation or several; None if there are prompts.
    """

    images: Any
    prompts: list[str] | None
    messages: Sequence[Any] | None

    @classmethod
    def of(cls, images: Any, prompts: str | Sequence[str] | None, messages: Any) -> Request:
        """What is asked; messages may have come in the first place, or in that of prompts.

        Raises:
            ValueError: If there are both prompts and messages, or neither.
        """
        if prompts is None and messages is None and is_conversation(images):
            images, messages = None, images
        if messages is None and is_conversation(prompts):
            prompts, messages = None, prompts
        if (prompts is None) == (messages is None):
            raise ValueError("give prompts (and images), or messages")
        if prompts is None:
            return cls(images, None, messages)
        return cls(images, [prompts] if isinstance(prompts, str) else list(prompts), None)


def check_chat_template(processor: Any) -> None:
    """Raise if a processor has no chat template.

    Raises:
        ValueError: If it has none.
    """
    if not getattr(processor, "chat_template", None):
        raise ValueError(
            "the model's processor has no chat template, so it is no model to chat with"
        )


def image_sources(content_part: Mapping[str, Any]) -> list[Any]:
    """The picture that a part of a message names, under whatever key; none if it names none.

    >>> image_sources({"type": "image", "path": "a.png"}), image_sources({"type": "image"})
    (['a.png'], [])
    """
    nested = content_part.get("image_url")
    address = nested if isinstance(nested, Mapping) else {"url": nested} if nested else {}
    sources = {**content_part, **address}
    key = next((key for key in IMAGE_KEYS if sources.get(key) is not None), None)
    if key is None:
        return []
    return [_bytes_of_base64(sources[key]) if key == "base64" else sources[key]]


def _bytes_of_base64(text: Any) -> Any:
    """The bytes of base64, as text or bytes; an address (`data:`) stays one."""
    if not isinstance(text, str | bytes) or is_address(text):
        return text
    return bytes_of_base64(text)


def with_pictures(
    conversations: Sequence[Sequence[Message]], images: Sequence[Any] = (), *, image_token: str
) -> tuple[list[list[Message]], list[list[Picture]]]:
    """Conversations whose image parts are bare, and the pictures of each, decoded.

    Args:
        conversations: the conversations.
        images: the pictures of parts that name none, and of placeholders in texts, in their order.
        image_token: the placeholder of one picture.

    Raises:
        ValueError: If a part names no picture and no image is left for it, an image is left over,
            or a picture is a clip.
        PictureError: If a picture cannot be decoded.
    """
    remaining = iter(images)
    bare, pictures = [], []
    for conversation in conversations:
        messages, sources = [], []
        for number, message in enumerate(conversation):
            content = message.get("content")
            if isinstance(content, list | tuple):
                for content_part in content:
                    sources += _sources_of(content_part, number, remaining, image_token)
                message = {**message, "content": list(map(_without_source, content))}
            else:
                sources += islice(remaining, str(content).count(image_token))
            messages.append(message)
        bare.append(messages)
        pictures.append([_still(decode_image(source)) for source in sources])
    if left := len(list(remaining)):
        raise ValueError(
            f"{len(images)} images stand beside the messages, and {left} of them have no part "
            "{'type': 'image'} that names no picture"
        )
    return bare, pictures


def rendered(processor: Any, messages: Sequence[Any], images: Any) -> tuple[Any, list[str]]:
    """Pictures and texts of conversations, as `ReleasedVLM.prepare` takes them.

    Args:
        processor: a processor of transformers.
        messages: a conversation or several.
        images: the pictures of image parts that name none, one or many.

    Raises:
        ValueError: If there is no chat template, or more or fewer pictures than places for them.
        PictureError: If a picture cannot be decoded.
    """
    check_chat_template(processor)
    conversations, pictures = with_pictures(
        conversations_of(messages),
        [] if images is None else decode_images(images),
        image_token=processor.image_token,
    )
    texts = [
        processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        for conversation in conversations
    ]
    return (pictures if any(pictures) else None), texts


def as_text(
    conversation: Sequence[Message], image_token: str
) -> tuple[list[dict[str, Any]], list[Any]]:
    """A conversation with text alone, for templates that know nothing else, and its pictures.

    A placeholder stands for each picture, and a line break between it and the words behind it.

    Args:
        conversation: the messages.
        image_token: the placeholder.

    Raises:
        ValueError: If a message has parts that are neither text nor pictures.
    """
    sources: list[Any] = []
    messages = []
    for message in conversation:
        parts = message.get("content")
        if isinstance(parts, list | tuple):
            message = {**message, "content": _joined(parts, image_token, sources)}
        messages.append(dict(message))
    return messages, sources


def _joined(parts: Sequence[Mapping[str, Any]], image_token: str, sources: list[Any]) -> str:
    """The parts of one message as one text; their pictures are appended to `sources`."""
    text = ""
    for content_part in parts:
        kind = content_part.get("type")
        if kind == "text":
            words = content_part["text"]
            behind_image = text.endswith(image_token) and not words[:1].isspace()
            text += ("\n" if behind_image else "") + words
        elif kind in IMAGE_TYPES:
            sources += image_sources(content_part)
            text += image_token
        else:
            raise ValueError(f"a message's parts are of type 'text' or 'image', got {kind!r}")
    return text


def _sources_of(
    content_part: Mapping[str, Any], number: int, remaining: Iterator[Any], image_token: str
) -> list[Any]:
    """The pictures of one part of a message."""
    if content_part.get("type") not in IMAGE_TYPES:
        return list(islice(remaining, str(content_part.get("text")).count(image_token)))
    sources = image_sources(content_part) or list(islice(remaining, 1))
    if not sources:
        raise ValueError(
            f"an image part of message {number} names no picture: give it one of "
            f"{', '.join(IMAGE_KEYS)}, or images beside the messages"
        )
    return sources


def _without_source(content_part: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "image"} if content_part.get("type") in IMAGE_TYPES else content_part


def _still(picture: Picture | Clip) -> Picture:
    if isinstance(picture, Clip):
        raise ValueError("a message takes pictures: give a clip's frames as parts of their own")
    return picture
