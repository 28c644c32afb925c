"""Text and pictures -> what RegionVLM takes: ids with ONE placeholder a picture, and the pictures,
decoded.

After: transformers' processors.
Differs: nothing is resized or normalised here, and the placeholder is not expanded: how many tokens
a picture has is known where its regions are (`splice`). Chat templates of language models, which
know only text, serve for pictures too: a message's parts become one text first, with a placeholder
and a line break where a picture stands (LLaVA's "<image>\\n").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import load_image

from regiontok.core.clip import Clip
from regiontok.core.picture import Picture

KEPT = ("input_ids", "attention_mask", "offset_mapping", "special_tokens_mask")
IMAGE_KEYS = ("image", "url", "path", "base64")


class RegionVLMProcessor(ProcessorMixin):
    """Tokenizer and pictures.

    Args:
        tokenizer: of the language model. If it does not know `image_token`, it learns it: the id
            lies behind its vocabulary, and no embedding is needed for it.
        image_token: the placeholder of one picture.
        chat_template: None takes the tokenizer's own.

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
        """What `RegionVLM.forward` takes of it."""
        return ["input_ids", "attention_mask", "pictures"]

    def __call__(  # type: ignore[override]  # no video, no audio
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
            videos: none.
            audio: none.
            **kwargs: for the tokenizer (`padding`, `padding_side`, `return_tensors` ...), also as
            `text_kwargs={...}`.

        Raises:
            ValueError: another number of placeholders than of pictures; both are said.
                `truncation`: text is never cut.
            PictureError: a picture that cannot be decoded.
        """
        if text is None or videos is not None or audio is not None:
            raise ValueError(
                "this processor takes text, and images beside it; no video and no audio"
            )
        options = _options(kwargs)
        prompts = [text] if isinstance(text, str) else list(text)
        rows = _rows(images)
        pictures = [_picture(image) for row in rows for image in row]
        data = self.tokenizer(prompts, return_tensors=None, **options)
        counts = [int(sum(one == self.image_token_id for one in ids)) for ids in data["input_ids"]]
        per_row = [len(row) for row in rows]
        nested = len(rows) == len(prompts) and _nested(images)
        if sum(counts) != len(pictures) or (nested and counts != per_row):
            given = f" (by row: {per_row})" if nested else ""
            raise ValueError(
                f"the prompts hold {sum(counts)} image placeholders (by row: {counts}), but {len(pictures)} images were given{given}"
            )
        made = {key: data[key] for key in KEPT if key in data}
        if pictures:
            made["pictures"] = pictures
        return BatchFeature(
            made, tensor_type=kwargs.get("return_tensors"), skip_tensor_conversion=["pictures"]
        )

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As transformers has it; a message's parts become one text first, so that any chat
        template takes them.

        >>> from regiontok.model.mini import mini_tokenizer
        >>> parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
        >>> RegionVLMProcessor(mini_tokenizer()).apply_chat_template([{"role": "user", "content": parts}])
        '<s>user: <image>\\nWhat?\\n'
        """
        if kwargs.get("sanitize_control_tokens"):
            raise ValueError(
                "sanitize_control_tokens would take placeholders for a user's words: give pictures as parts without it"
            )
        many = bool(conversation) and isinstance(conversation[0], list | tuple)
        plain, images = zip(
            *(self._plain(one) for one in (conversation if many else [conversation])), strict=True
        )
        if kwargs.get("tokenize"):
            options = dict(kwargs.get("processor_kwargs") or {})
            if any(images):
                options["images"] = list(images) if many else images[0]
            kwargs["processor_kwargs"] = options
        return super().apply_chat_template(list(plain) if many else plain[0], *args, **kwargs)

    def _plain(
        self, conversation: Sequence[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """The conversation with text alone, and its pictures."""
        images: list[Any] = []
        messages = []
        for message in conversation:
            content = message.get("content")
            messages.append(
                message
                if not isinstance(content, list | tuple)
                else {**message, "content": self._text(content, images)}
            )
        return messages, images

    def _text(self, parts: Sequence[dict[str, Any]], images: list[Any]) -> str:
        words = ""
        for part in parts:
            kind = part.get("type")
            if kind == "text":
                after = words.endswith(self.image_token) and not part["text"][:1].isspace()
                words += ("\n" if after else "") + part["text"]
            elif kind in ("image", "image_url"):
                nested = part.get("image_url")
                known = {
                    **part,
                    **(nested if isinstance(nested, dict) else {"url": nested} if nested else {}),
                }
                images += [known[key] for key in IMAGE_KEYS if key in known]
                words += self.image_token
            else:
                raise ValueError(f"a message's parts are of type 'text' or 'image', got {kind!r}")
        return words


def _options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the tokenizer gets."""
    options = {key: value for key, value in kwargs.items() if not key.endswith("_kwargs")} | dict(
        kwargs.get("text_kwargs") or {}
    )
    for name in ("return_tensors", "return_text_replacement_offsets", "return_mm_token_type_ids"):
        options.pop(name, None)
    if options.get("truncation"):
        raise ValueError(
            "text is never cut here, and a picture's tokens are not counted yet: shorten the text, not by truncation=True"
        )
    if kwargs.get("return_tensors"):
        options.setdefault("padding", True)
    return options


def _nested(images: Any) -> bool:
    return isinstance(images, list | tuple) and any(
        isinstance(image, list | tuple) for image in images
    )


def _rows(images: Any) -> list[list[Any]]:
    """Pictures by row; without rows, all in one."""
    if images is None:
        return []
    if _nested(images):
        return [
            list(row) if isinstance(row, list | tuple) else [] if row is None else [row]
            for row in images
        ]
    return [list(images)] if isinstance(images, list | tuple) else [[images]]


def _picture(image: Any) -> Picture | Clip:
    if isinstance(image, Clip):
        return image
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return Picture.of(load_image(image), image[:60])
    return Picture.of(image)
