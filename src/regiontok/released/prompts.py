"""Images and their prompts: counted against each other, and one placeholder a visual token."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.core.sizes import ShownBySizes
from regiontok.released.family import ImageTokens
from regiontok.released.ready_tokens import with_placeholders
from regiontok.tokenizer.images import decode_images


@dataclass(frozen=True, eq=False, repr=False)
class PromptImages(ShownBySizes):
    """The pictures of a batch of prompts.

    Attributes:
        pictures: all pictures, in the order of their placeholders.
        counts: how many pictures each prompt has.
        by_prompt: True if they were given as a list a prompt.
    """

    pictures: tuple[Picture, ...]
    counts: tuple[int, ...]
    by_prompt: bool

    @classmethod
    def of(cls, images: Any, texts: Sequence[str], placeholder: str) -> PromptImages:
        """Decode the images, and check that there is a placeholder for each.

        Args:
            images: one image or many, of any kind that `Picture.of` takes; a list a prompt (empty
                for text alone); or None for text alone.
            texts: the prompts.
            placeholder: the text that stands for one image.

        Raises:
            ValueError: If there are more or fewer placeholders than images, or a clip is given.
            PictureError: If an image cannot be decoded.
        """
        counts = tuple(text.count(placeholder) for text in texts)
        by_prompt = _is_nested(images)
        if by_prompt:
            groups = [decode_images(group) for group in images]
        else:
            groups = [[] if images is None else decode_images(images)]
        if by_prompt and len(groups) != len(texts):
            raise ValueError(
                f"images came for {len(groups)} prompts, but there are {len(texts)} prompts"
            )
        pictures = _stills([picture for group in groups for picture in group])
        if sum(counts) != len(pictures):
            raise ValueError(
                f"the prompts hold {sum(counts)} {placeholder} (by prompt: {list(counts)}), but "
                f"{len(pictures)} images were given"
            )
        image_counts = tuple(map(len, groups))
        if by_prompt and image_counts != counts:
            raise ValueError(
                f"the prompts hold {list(counts)} {placeholder}, but {list(image_counts)} images "
                "were given, prompt by prompt"
            )
        return cls(pictures, counts, by_prompt)

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides the pictures' tokens in one model: the pictures, and how they were given."""
        keys = tuple(picture.key for picture in self.pictures)
        return (keys, self.counts if self.by_prompt else None)


def _stills(pictures: Sequence[Picture | Clip]) -> tuple[Picture, ...]:
    stills = tuple(picture for picture in pictures if isinstance(picture, Picture))
    if len(stills) < len(pictures):
        raise ValueError(
            "a clip has no placeholder here: give its frames as images, one placeholder each"
        )
    return stills


def _is_nested(images: Any) -> bool:
    return (
        isinstance(images, list | tuple)
        and bool(images)
        and all(isinstance(group, list | tuple) for group in images)
    )


def check_no_video(processor: Any, texts: Sequence[str]) -> None:
    """Refuse prompts with a place for a video, of which no tokens are made here.

    Processors of transformers 5.23 refuse such a prompt themselves, those of 5.19 leave it as it
    is, and the model then reads a bare placeholder.

    Raises:
        ValueError: If a prompt holds the processor's placeholder of a video.
    """
    token = getattr(processor, "video_token", None)
    if token and any(token in text for text in texts):
        raise ValueError(
            f"a prompt holds {token}, but no tokens of a video are made here: give its frames as "
            "images"
        )


def expanding_processor(
    processor: Any, tokens_of: Callable[[Mapping[str, Any]], Sequence[ImageTokens]], token: str
) -> Any:
    """A copy of a processor that writes as many placeholders for an image as it has tokens.

    What stands around an image's placeholders is kept. This is the only place that expands them,
    and the processor of others goes on as it was.

    Args:
        processor: a processor of transformers.
        tokens_of: the tokens of each image, from the tensors that the processor's image part made
            of all images. It is called for each image, and so should remember its answer.
        token: the text that stands for one visual token.
    """
    expanding = copy.copy(processor)

    def replace_image_token(image_inputs: Mapping[str, Any], image_idx: int, **options: Any) -> str:
        text = processor.replace_image_token(image_inputs, image_idx=image_idx, **options)
        return with_placeholders(text, token, len(tokens_of(image_inputs)[image_idx]))

    expanding.replace_image_token = replace_image_token
    return expanding
