"""Conversations with a released model: see `regiontok.conversation`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from time import perf_counter
from typing import Any

import torch

from regiontok.conversation import (
    BatchAnswer,
    Message,
    Phrasing,
    PictureTokens,
    PreparedConversation,
)
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.tokens import NEWLINE, REGION, Tokens
from regiontok.released.family import ImageTokens
from regiontok.released.messages import check_chat_template
from regiontok.released.vlm import ReleasedVLM, TokenCache
from regiontok.system.rendering import rendering


class ReleasedConversationModel:
    """A released model that talks about pictures.

    The tower sees the pictures of a conversation once, until another is added, since some models
    see several together. What `prepare` takes counts as encoding, regions included.

    Args:
        model: the released model.

    Raises:
        ValueError: If its processor has no chat template.
    """

    def __init__(self, model: ReleasedVLM) -> None:
        check_chat_template(model.processor)
        self.model, self.tokenizer = model, model.processor.tokenizer
        self.phrasing = Phrasing()
        self._token_cache: TokenCache = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def prepare(
        self, messages: Sequence[Message], pictures: Sequence[Picture]
    ) -> PreparedConversation:
        """See `ConversationModel.prepare`."""
        start = perf_counter()
        with rendering():
            text = self.model.processor.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        prepared = self.model.prepare(list(pictures) or None, text, cache=self._token_cache)
        columns = (prepared.input_ids[0] == self.model.image_token_id).nonzero()[:, 0]

        def generate(**options: Any) -> Any:
            return self.model.generate(prepared, **options)

        @torch.no_grad()
        def read(further: torch.Tensor) -> Any:
            return self.model(prepared.followed_by(further, self.model.family), use_cache=False)

        return PreparedConversation(
            pictures=tuple(map(_picture_tokens, pictures, prepared.tokens)),
            visual_columns=columns,
            length=prepared.input_ids.shape[1],
            seconds={"encode": perf_counter() - start},
            generate=generate,
            first_new=prepared.input_ids.shape[1],
            read=read,
        )

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        pictures: Sequence[Sequence[Picture]],
        **options: Any,
    ) -> list[BatchAnswer]:
        """See `ConversationModel.answers`."""
        with rendering():
            texts = [
                self.model.processor.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=True
                )
                for messages in conversations
            ]
        images = [list(row) for row in pictures] if any(pictures) else None
        prepared = self.model.prepare(images, texts)
        new_ids = self.model.generate(prepared, **options)[:, prepared.input_ids.shape[1] :]
        said = self.tokenizer.batch_decode(new_ids, skip_special_tokens=True)
        images_of = iter(prepared.tokens)
        return [
            _answer(text.strip(), list(islice(images_of, len(row))))
            for text, row in zip(said, pictures, strict=True)
        ]

    def forget(self) -> None:
        """See `ConversationModel.forget`."""
        self._token_cache.clear()


def _answer(text: str, images: Sequence[ImageTokens]) -> BatchAnswer:
    """An answer with what its pictures were."""
    return BatchAnswer(
        text,
        visual_tokens=tuple(map(len, images)),
        resolutions=tuple(tuple(frame.canvas for frame in image.frames) for image in images),
    )


def _picture_tokens(picture: Picture, image: ImageTokens) -> PictureTokens:
    """The tokens of one picture, with the regions they are of.

    The model's own tokens are patches where its one view has as many, or the family says where they
    lie; else they belong to no region.
    """
    regions, region, view = image.regions, image.region, image.view
    kind = torch.full_like(region, REGION)
    if not regions and [len(image)] == [height * width for height, width in image.grids]:
        regions = (Regions.singletons(image.grids[0]),)
        region, view = torch.arange(len(image), device=region.device), torch.zeros_like(view)
    elif image.places is not None and len(image.places) == len(image):
        regions = tuple(Regions.singletons(grid) for grid in image.grids)
        view, region = image.places.to(region.device).unbind(1)
        kind[region < 0] = NEWLINE
        view = view.clamp(min=0)
    tokens = Tokens(
        values=image.values,
        image=torch.zeros_like(region),
        view=view,
        region=region,
        patch=torch.full_like(region, -1) if image.patch is None else image.patch,
        kind=kind,
        images=1,
    )
    on_cpu = tuple(view_regions.to("cpu") for view_regions in regions)
    return PictureTokens(picture, tokens, image.frames, on_cpu, image.masks)
