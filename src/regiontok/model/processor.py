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
from typing import Any

from transformers import BatchFeature, ProcessorMixin

from regiontok.model.chat_templates import NAMED, begin_token, named_template
from regiontok.model.pieces import PieceTokenizer
from regiontok.model.processor_inputs import check_counts, is_nested, rows_of, tokenizer_options
from regiontok.released.messages import IMAGE_KEYS as IMAGE_KEYS
from regiontok.released.messages import (
    as_text,
    conversations_of,
    with_pictures,
)
from regiontok.system.rendering import rendering
from regiontok.tokenizer.images import decode_image

KEPT = ("input_ids", "attention_mask", "offset_mapping", "special_tokens_mask")


class RegionVLMProcessor(ProcessorMixin):
    """Tokenizer and pictures.

    Args:
        tokenizer: tokenizer of the language model. If it does not know `image_token`, it learns it:
            the id lies behind its vocabulary, and no embedding is needed for it.
        image_token: the placeholder of one picture.
        chat_template: a chat template as jinja text, or the name of one ("vicuna_v1", "plain");
            None takes the tokenizer's own.
        questions: name of the closed set of questions that the model was trained on ("world"), of
            which `regiontok.model.world_questions` knows; "" for free words.

    >>> from PIL import Image
    >>> from regiontok.model.mini import mini_tokenizer
    >>> processor = RegionVLMProcessor(mini_tokenizer())
    >>> batch = processor(images=Image.new("RGB", (6, 4)), text="<image>a", return_tensors="pt")
    >>> batch["input_ids"].shape, batch["pictures"][0].size
    (torch.Size([1, 2]), (4, 6))
    """

    def __init__(
        self,
        tokenizer: Any = None,
        image_token: str = "<image>",
        chat_template: str | None = None,
        questions: str = "",
    ) -> None:
        self.image_token, self.questions = image_token, questions
        if image_token not in tokenizer.get_vocab():
            tokenizer.add_tokens([image_token], special_tokens=True)
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        self._pieces: PieceTokenizer | None = None
        template = self._template_text(tokenizer, chat_template) or tokenizer.chat_template
        super().__init__(tokenizer, chat_template=template)

    @staticmethod
    def _template_text(tokenizer: Any, template: str | None) -> str | None:
        """A template as jinja text, also where it is given by its name."""
        return named_template(tokenizer, template) if template in NAMED else template

    def __repr__(self) -> str:
        kind = type(self.tokenizer).__name__
        template = "a chat template" if self.chat_template else "no chat template"
        return (
            f"{type(self).__name__}({kind} of {len(self.tokenizer)} tokens, "
            f"{self.image_token} = {self.image_token_id}, {template})"
        )

    def check_model(self, image_token_id: int) -> None:
        """Raise if this is the processor of another model.

        Args:
            image_token_id: the model's placeholder.

        Raises:
            ValueError: If it is another one than here.
        """
        if self.image_token_id != image_token_id:
            raise ValueError(
                f"the processor's {self.image_token} has the id {self.image_token_id}, "
                f"the model's placeholder {image_token_id}: it is another model's processor"
            )

    def check_template(self) -> None:
        """Raise if there is no chat template.

        Raises:
            ValueError: If there is none.
        """
        if not self.chat_template:
            raise ValueError(
                "the tokenizer has no chat template: name one "
                f"(template = {', '.join(map(repr, NAMED))}), or save one with it "
                "(tokenizer.chat_template = ...)"
            )

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
        *,
        conversation_images: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Ids and mask `[b l]`, and `pictures`, flat, in the order of their placeholders.

        Args:
            images: one picture, many, or a list of them for each text: paths, addresses, bytes,
                Pillow images, arrays, tensors.
            text: one prompt or many, one `image_token` a picture.
            videos: must be None.
            audio: must be None.
            conversation_images: the pictures that `apply_chat_template` takes out of messages, a
                list a conversation, in place of `images`. They have a name of their own because
                transformers passes `images` itself: up to 5.19 a second one is a TypeError.
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
        options = tokenizer_options(kwargs)
        prompts = [text] if isinstance(text, str) else list(text)
        images = images if conversation_images is None else conversation_images
        images_by_row = rows_of(images)
        pictures = [decode_image(image) for row in images_by_row for image in row]
        encoding = self._encoded(prompts, **options)
        counts = [
            int(sum(token_id == self.image_token_id for token_id in ids))
            for ids in encoding["input_ids"]
        ]
        by_row = is_nested(images) and len(images_by_row) == len(prompts)
        check_counts(counts, [len(row) for row in images_by_row], by_row)
        inputs = {key: encoding[key] for key in KEPT if key in encoding}
        if pictures:
            inputs["pictures"] = pictures
        return BatchFeature(
            inputs, tensor_type=kwargs.get("return_tensors"), skip_tensor_conversion=["pictures"]
        )

    def prompt_ids(self, conversation: Sequence[Any], *, template: str = "") -> list[int]:
        r"""The ids of a conversation whose next answer is to be written, as they were trained.

        Args:
            conversation: messages as chat templates of transformers take them; the last one is the
                user's.
            template: name of a template in place of the processor's own.

        >>> from regiontok.model.mini import mini_tokenizer
        >>> processor = RegionVLMProcessor(mini_tokenizer())
        >>> ids = processor.prompt_ids([{"role": "user", "content": "What?"}])
        >>> processor.tokenizer.decode(ids).rstrip()
        '<s>user: What?\nassistant:'
        """
        options: dict[str, Any] = {
            "add_generation_prompt": True,
            "chat_template": template or None,
        }
        text = self.apply_chat_template(list(conversation), **options)
        answers = [
            index for index, message in enumerate(conversation) if message["role"] == "assistant"
        ]
        # where the model began to write an earlier answer no token reaches over
        beginnings = [
            self.apply_chat_template(list(conversation[:index]), **options) for index in answers
        ]
        places = [len(beginning) for beginning in beginnings if text.startswith(beginning)]
        ids, _ = self.pieces.untorn(text, places)
        return ids

    def text_ids(self, text: str) -> list[int]:
        """The ids of a prompt as in training; one placeholder a picture stays in them.

        Args:
            text: the prompt; the begin token is put in front unless it is there.
        """
        ids: list[int] = self._encoded([text])["input_ids"][0]
        return ids

    def conversation_batch(
        self, messages: Sequence[Any], images: Any = None, *, template: str = ""
    ) -> BatchFeature:
        """What `RegionVLM.generate` takes for one conversation or several, padded on the left.

        Args:
            messages: a conversation or a list of them, pictures inside.
            images: the pictures of image parts that name none, one or many.
            template: name of a template in place of the processor's own.

        Raises:
            ValueError: If there is no template, it does not take a conversation, or there are more
                or fewer pictures than parts for them.
            PictureError: If a picture cannot be decoded.
        """
        beside = [image for row in rows_of(images) for image in row]
        conversations, pictures = with_pictures(
            conversations_of(messages), beside, image_token=self.image_token
        )
        rows = [self.prompt_ids(conversation, template=template) for conversation in conversations]
        check_counts(
            [row.count(self.image_token_id) for row in rows], list(map(len, pictures)), by_row=True
        )
        batch = self.tokenizer.pad(
            {"input_ids": rows}, padding=len(rows) > 1, padding_side="left", return_tensors="pt"
        )
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if any(pictures):
            inputs["pictures"] = [picture for row in pictures for picture in row]
        return BatchFeature(inputs)

    @property
    def pieces(self) -> PieceTokenizer:
        """What makes ids of a text, in training and here."""
        if self._pieces is None:
            self._pieces = PieceTokenizer(self.tokenizer, self.image_token)
        return self._pieces

    def _encoded(
        self,
        prompts: Sequence[str],
        *,
        add_special_tokens: bool = True,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        **padding: Any,
    ) -> dict[str, Any]:
        """Ids of prompts as in training: piece by piece, the begin token in front.

        A begin token that is written in the text already is not put in front again.
        """
        begin = begin_token(self.tokenizer) if add_special_tokens else ""
        texts = [text if begin and text.startswith(begin) else begin + text for text in prompts]
        rows = [self.pieces(text) for text in texts]
        ids = [row_ids for row_ids, _ in rows]
        unpadded: dict[str, Any] = {"input_ids": ids}
        if return_special_tokens_mask:
            special = set(self.tokenizer.all_special_ids)
            unpadded["special_tokens_mask"] = [
                [int(number in special) for number in row] for row in ids
            ]
        encoding = dict(
            self.tokenizer.pad(unpadded, verbose=False, **{"padding": False, **padding})
        )
        if return_offsets_mapping:
            encoding["offset_mapping"] = [offsets for _, offsets in rows]
        return encoding

    def apply_chat_template(  # type: ignore[override]  # its other options are in kwargs
        self, conversation: Any, chat_template: str | None = None, **kwargs: Any
    ) -> Any:
        """As transformers has it, for any chat template.

        A message's parts become one text first, so that templates which know only text take them.

        Args:
            conversation: messages, or a list of conversations.
            chat_template: a template as jinja text or by its name; None takes the processor's own.
            **kwargs: see transformers.

        Raises:
            ValueError: If there is no template, or it does not take the conversation.

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
        kwargs["chat_template"] = self._template_text(self.tokenizer, chat_template)
        if not kwargs["chat_template"]:
            self.check_template()
        many = bool(conversation) and isinstance(conversation[0], list | tuple)
        conversations = conversation if many else [conversation]
        messages, images = zip(
            *(as_text(each, self.image_token) for each in conversations), strict=True
        )
        if kwargs.get("tokenize"):
            options = dict(kwargs.get("processor_kwargs") or {})
            if any(images):
                options["conversation_images"] = list(images)
            kwargs["processor_kwargs"] = options
        messages = list(messages) if many else messages[0]
        # with pictures it decodes them, too, and tokenizes
        with rendering(patience=12 if kwargs.get("tokenize") else 1):
            return super().apply_chat_template(messages, **kwargs)
