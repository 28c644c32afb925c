"""Answers of a `RegionVLM` to prompts and to conversations, by the processor saved beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.saved_processor import load_processor
from regiontok.model.sequences import SequenceReader
from regiontok.model.visual import OtherSteps, UsedSettings
from regiontok.released.messages import Request


class Answering(SequenceReader):
    """A `RegionVLM` that is asked in words.

    Attributes:
        processor: tokenizer and template; at first use it is read from the folder that the model
            was loaded from, and may be set.
    """

    _processor: RegionVLMProcessor | None = None

    @property
    def processor(self) -> RegionVLMProcessor:
        """The processor that was set, or the one saved beside the model.

        Raises:
            ValueError: If there is neither, or it is another model's.
        """
        if self._processor is None:
            name = self.name_or_path
            if not name or not Path(name).is_dir():
                raise ValueError(
                    "this model was not loaded from a folder with a processor: set model.processor "
                    "= RegionVLMProcessor(tokenizer)"
                )
            self.processor = load_processor(Path(name))
        assert self._processor is not None
        return self._processor

    @processor.setter
    def processor(self, processor: RegionVLMProcessor) -> None:
        processor.check_model(self.config.image_token_id)
        self._processor = processor

    def answer(
        self,
        images: Any = None,
        prompts: str | Sequence[str] | None = None,
        *,
        messages: Sequence[Any] | None = None,
        template: str = "",
        regions: OtherSteps = None,
        settings: UsedSettings | None = None,
        **options: Any,
    ) -> list[str]:
        """The new text of each prompt or conversation, special tokens left out.

        `answer(messages)` is asked by the template that the model was trained with. Prompts are
        taken as they are: the template is theirs to write.

        Args:
            images: pictures of the prompts, one or many, or a list a prompt; None for text alone.
                Beside messages, the pictures of image parts that name none.
            prompts: texts with one placeholder (`processor.image_token`) a picture.
            messages: a conversation in place of prompts, or several: messages of `role` and
                `content`, pictures inside as `{"type": "image", "image": ...}` (a Pillow image, a
                path, an address), or under `path`, `url`, `base64`, `image_url`.
            template: name of a template in place of the saved one, for messages.
            regions, settings: see `generate`.
            **options: options of `generate`.

        Raises:
            ValueError: If there are both prompts and messages or neither, more or fewer pictures
                than places for them, or there is no processor or template.
            PictureError: If a picture cannot be decoded.

        >>> from PIL import Image
        >>> from regiontok.model.mini import mini_language_model, mini_tokenizer
        >>> from regiontok.model.vlm import RegionVLM
        >>> from regiontok.settings.recipe import TokenizerSettings
        >>> visual = TokenizerSettings(encoder="filters(size=56)", regions="windows(4)")
        >>> model = RegionVLM.from_parts(mini_language_model(), visual, image_token_id=3)
        >>> model.processor = RegionVLMProcessor(mini_tokenizer())
        >>> picture = {"type": "image", "image": Image.new("RGB", (8, 6))}
        >>> question = {"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}
        >>> len(model.answer([question], max_new_tokens=2))
        1
        """
        request = Request.of(images, prompts, messages)
        if request.messages is None:
            batch = self.processor(
                images=request.images,
                text=request.prompts,
                padding=True,
                padding_side="left",
                return_tensors="pt",
            )
        else:
            batch = self.processor.conversation_batch(
                request.messages, request.images, template=template
            )
        ids = batch["input_ids"].to(self.device)
        output = self.generate(
            ids,
            batch["attention_mask"].to(self.device),
            batch.get("pictures"),
            regions=regions,
            settings=settings,
            **options,
        )
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        texts: list[str] = self.processor.tokenizer.batch_decode(
            sequences[:, ids.shape[1] :], skip_special_tokens=True
        )
        return texts
