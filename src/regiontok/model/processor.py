"""RegionVLMProcessor: text and pictures -> what RegionVLM takes.

Ids hold ONE placeholder a picture, and the pictures are decoded.

After: transformers' processors.
Differs: nothing is resized or normalised here, and the placeholder is not expanded: how many tokens
a picture has is known where its regions are (`splice`). Chat templates of language models, which
know only text, serve for pictures too: a message's parts become one text first, with a placeholder
and a line break where a picture stands (LLaVA's "<image>\\n").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.image_utils import load_image

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.system.errors import first_line
from regiontok.system.loading import clear_model_errors
from regiontok.system.rendering import rendering

KEPT = ("input_ids", "attention_mask", "offset_mapping", "special_tokens_mask")
IMAGE_KEYS = ("image", "url", "path", "base64")
# what this processor answers for itself, and the tokenizer does not get
_PROCESSOR_OPTIONS = (
    "return_tensors",
    "return_text_replacement_offsets",
    "return_mm_token_type_ids",
)


class RegionVLMProcessor(ProcessorMixin):
    """Tokenizer and pictures.

    Args:
        tokenizer: tokenizer of the language model. If it does not know `image_token`, it learns it:
            the id lies behind its vocabulary, and no embedding is needed for it.
        image_token: the placeholder of one picture.
        chat_template: a chat template; None takes the tokenizer's own.

    >>> from PIL import Image
    >>> from regiontok.model.mini import mini_tokenizer
    >>> processor = RegionVLMProcessor(mini_tokenizer())
    >>> batch = processor(images=Image.new("RGB", (6, 4)), text="<image>a", return_tensors="pt")
    >>> batch["input_ids"].shape, batch["pictures"][0].size
    (torch.Size([1, 2]), (4, 6))
    """

    def __init__(
        self, tokenizer: Any = None, image_token: str = "<image>", chat_template: str | None = None
    ) -> None:
        self.image_token = image_token
        if image_token not in tokenizer.get_vocab():
            tokenizer.add_tokens([image_token], special_tokens=True)
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        super().__init__(tokenizer, chat_template=chat_template or tokenizer.chat_template)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the processor's outputs that `RegionVLM.forward` takes."""
        return ["input_ids", "attention_mask", "pictures"]

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: None = None,
        audio: None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Ids and mask `[b l]`, and `pictures`, flat, in the order of their placeholders.

        Args:
            images: one picture, many, or a list of them for each text: paths, addresses, bytes,
                Pillow images, arrays, tensors.
            text: one prompt or many, one `image_token` a picture.
            videos: must be None.
            audio: must be None.
            **kwargs: options of the tokenizer (`padding`, `padding_side`, `return_tensors` ...),
                also as `text_kwargs={...}`.

        Raises:
            ValueError: If there are more or fewer placeholders than pictures (both counts are
                said), or `truncation` is asked for: text is never cut.
            PictureError: If a picture cannot be decoded.
        """
        if text is None or videos is not None or audio is not None:
            raise ValueError(
                "this processor takes text, and images beside it; no video and no audio"
            )
        options = _tokenizer_options(kwargs)
        prompts = [text] if isinstance(text, str) else list(text)
        images_by_row = _by_row(images)
        pictures = [_decode(image) for row in images_by_row for image in row]
        encoding = self.tokenizer(prompts, return_tensors=None, **options)
        counts = [
            int(sum(token_id == self.image_token_id for token_id in ids))
            for ids in encoding["input_ids"]
        ]
        by_row = _is_nested(images) and len(images_by_row) == len(prompts)
        _check_counts(counts, [len(row) for row in images_by_row], by_row)
        inputs = {key: encoding[key] for key in KEPT if key in encoding}
        if pictures:
            inputs["pictures"] = pictures
        return BatchFeature(
            inputs, tensor_type=kwargs.get("return_tensors"), skip_tensor_conversion=["pictures"]
        )

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers has it, for any chat template.

        A message's parts become one text first, so that templates which know only text take them.

        >>> from regiontok.model.mini import mini_tokenizer
        >>> processor = RegionVLMProcessor(mini_tokenizer())
        >>> parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
        >>> processor.apply_chat_template([{"role": "user", "content": parts}])
        '<s>user: <image>\\nWhat?\\n'
        """
        if kwargs.get("sanitize_control_tokens"):
            raise ValueError(
                "sanitize_control_tokens would take placeholders for a user's words: give pictures "
                "as parts without it"
            )
        many = bool(conversation) and isinstance(conversation[0], list | tuple)
        conversations = conversation if many else [conversation]
        as_text, images = zip(*map(self._as_text, conversations), strict=True)
        if kwargs.get("tokenize"):
            options = dict(kwargs.get("processor_kwargs") or {})
            if any(images):
                options["images"] = list(images) if many else images[0]
            kwargs["processor_kwargs"] = options
        # with pictures it decodes them, too, and tokenizes
        with rendering(patience=12 if kwargs.get("tokenize") else 1):
            return super().apply_chat_template(
                list(as_text) if many else as_text[0], *args, **kwargs
            )

    def _as_text(
        self, conversation: Sequence[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """The conversation with text alone, and its pictures."""
        images: list[Any] = []
        messages = []
        for message in conversation:
            content = message.get("content")
            if isinstance(content, list | tuple):
                message = {**message, "content": self._joined(content, images)}
            messages.append(message)
        return messages, images

    def _joined(self, parts: Sequence[dict[str, Any]], images: list[Any]) -> str:
        """The parts of one message as one text; their pictures are appended to `images`."""
        text = ""
        for content in parts:
            kind = content.get("type")
            if kind == "text":
                words = content["text"]
                behind_image = text.endswith(self.image_token) and not words[:1].isspace()
                text += ("\n" if behind_image else "") + words
            elif kind in ("image", "image_url"):
                images += _images_of(content)
                text += self.image_token
            else:
                raise ValueError(f"a message's parts are of type 'text' or 'image', got {kind!r}")
        return text


def load_processor(folder: Path) -> RegionVLMProcessor:
    """The processor of a model's folder; without one, a processor around its tokenizer.

    Raises:
        ValueError: If there is neither, or it cannot be read.
    """
    try:
        with clear_model_errors(str(folder)):
            if (folder / "processor_config.json").is_file():
                return RegionVLMProcessor.from_pretrained(folder)
            return RegionVLMProcessor(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except ValueError as error:
        raise ValueError(
            f"{folder} has no processor or tokenizer that can be read ({first_line(error)}); save "
            "one there: save_pretrained"
        ) from None


def _images_of(content: dict[str, Any]) -> list[Any]:
    """The picture that a part of a message names, under whatever key."""
    nested = content.get("image_url")
    address = nested if isinstance(nested, dict) else {"url": nested} if nested else {}
    sources = {**content, **address}
    return [sources[key] for key in IMAGE_KEYS if key in sources]


def _tokenizer_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options that the tokenizer gets."""
    options = {key: value for key, value in kwargs.items() if not key.endswith("_kwargs")}
    options |= dict(kwargs.get("text_kwargs") or {})
    options = {key: value for key, value in options.items() if key not in _PROCESSOR_OPTIONS}
    if options.get("truncation"):
        raise ValueError(
            "text is never cut here, and a picture's tokens are not counted yet: shorten the text, "
            "not by truncation=True"
        )
    if kwargs.get("return_tensors"):
        options.setdefault("padding", True)
    return options


def _check_counts(placeholders: list[int], images: list[int], by_row: bool) -> None:
    """Refuse another number of images than of placeholders, row by row if they came so."""
    if sum(placeholders) != sum(images) or (by_row and placeholders != images):
        image_rows = f" (by row: {images})" if by_row else ""
        raise ValueError(
            f"the prompts hold {sum(placeholders)} image placeholders (by row: {placeholders}), "
            f"but {sum(images)} images were given{image_rows}"
        )


def _is_nested(images: Any) -> bool:
    return isinstance(images, list | tuple) and any(
        isinstance(image, list | tuple) for image in images
    )


def _by_row(images: Any) -> list[list[Any]]:
    """Images by row; without rows, all in one."""
    if images is None:
        return []
    if _is_nested(images):
        return [
            list(row) if isinstance(row, list | tuple) else [] if row is None else [row]
            for row in images
        ]
    return [list(images)] if isinstance(images, list | tuple) else [[images]]


def _decode(image: Any) -> Picture | Clip:
    if isinstance(image, Clip):
        return image
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return Picture.of(load_image(image), image[:60])
    return Picture.of(image)
