"""Conversations with a trained RegionVLM, and the models of all kinds that one can talk with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from regiontok.conversation import (
    BatchAnswer,
    ConversationModel,
    Message,
    PictureTokens,
    PreparedConversation,
)
from regiontok.core.frame import Pair
from regiontok.core.picture import Picture
from regiontok.core.tokens import Tokens, cat
from regiontok.model.config import RegionVLMConfig
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.saved_processor import load_processor
from regiontok.model.visual import UsedSettings, views_by_image
from regiontok.model.vlm import RegionVLM
from regiontok.model.world_questions import phrasing_of
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.released.loading import from_vlm
from regiontok.settings.recipe import changed
from regiontok.system.checkpoint import check_no_revision, read_json
from regiontok.system.devices import resolve_device
from regiontok.system.pretrained import quiet_transformers
from regiontok.system.shipped_models import local_folder

# A benchmark asks about a picture in several batches that stand near each other. 32 pictures are
# more than most benches have in the 16 batches of 8 whose questions are sorted together, and of 576
# tokens of a 7B model they are 150 MB.
_RECENT = 32

_Seen = tuple[Tokens, tuple[Pair, ...]]  # a picture's tokens, and the sizes of its views


class TrainedConversationModel:
    """A `RegionVLM` that talks about pictures; each is encoded once.

    Args:
        model: the model.
        processor: its processor.
        settings: how pictures are read; see `RegionVLM.see`.

    Raises:
        ValueError: If the tokenizer's placeholder is not the model's, or there is no chat template.
    """

    def __init__(
        self,
        model: RegionVLM,
        processor: RegionVLMProcessor,
        *,
        settings: UsedSettings = "answering",
    ) -> None:
        processor.check_model(model.config.image_token_id)
        processor.check_template()
        self.settings = model.settings_of(settings)
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        self.phrasing = phrasing_of(processor.questions)
        self._picture_tokens: dict[str, PictureTokens] = {}  # by the picture's key
        self._recent: OrderedDict[str, _Seen] = OrderedDict()  # by the key, the latest last

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def prepare(
        self, messages: Sequence[Message], pictures: Sequence[Picture]
    ) -> PreparedConversation:
        """See `ConversationModel.prepare`."""
        seconds = {"encode": 0.0, "regions": 0.0}
        picture_tokens = tuple(self._encoded(picture, seconds) for picture in pictures)
        ids = self._ids(messages)
        tokens = cat([picture.tokens for picture in picture_tokens]) if picture_tokens else None
        spliced = self.model.spliced(ids, None, tokens, side="left")

        def generate(**options: Any) -> Any:
            return self.model.generate(ids, torch.ones_like(ids), tokens, **options)

        @torch.no_grad()
        def read(further: torch.Tensor) -> Any:
            row = torch.cat([ids, further.to(ids.device)], 1)
            return self.model(row, torch.ones_like(row), tokens, use_cache=False)

        return PreparedConversation(
            pictures=picture_tokens,
            visual_columns=(spliced.visual[0] >= 0).nonzero()[:, 0],
            length=spliced.mask.shape[1],
            seconds=seconds,
            generate=generate,
            first_new=ids.shape[1],
            read=read,
        )

    @torch.no_grad()
    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        pictures: Sequence[Sequence[Picture]],
        **options: Any,
    ) -> list[BatchAnswer]:
        """See `ConversationModel.answers`; the latest pictures are not encoded again."""
        seen = self._seen({picture.key: picture for row in pictures for picture in row})
        rows = [
            self.processor.prompt_ids([dict(message) for message in messages])
            for messages in conversations
        ]
        batch = self.tokenizer.pad(
            {"input_ids": rows}, padding=True, padding_side="left", return_tensors="pt"
        )
        ids = batch["input_ids"].to(self.model.device)
        in_order = [seen[picture.key][0] for row in pictures for picture in row]
        output = self.model.generate(
            ids,
            batch["attention_mask"].to(self.model.device),
            cat(in_order) if in_order else None,
            **options,
        )
        new_ids = output[:, ids.shape[1] :]
        texts = self.tokenizer.batch_decode(new_ids, skip_special_tokens=True)
        return [
            BatchAnswer(
                text.strip(),
                visual_tokens=tuple(len(seen[picture.key][0]) for picture in row),
                resolutions=tuple(seen[picture.key][1] for picture in row),
            )
            for text, row in zip(texts, pictures, strict=True)
        ]

    def _seen(self, distinct: Mapping[str, Picture]) -> dict[str, _Seen]:
        """The tokens of pictures by their keys, and the sizes of the views that they come from.

        Only these are kept: features would lie on the GPU for as long as the model generates.
        """
        new = {key: picture for key, picture in distinct.items() if key not in self._recent}
        if new:
            run = self.model.run(list(new.values()), settings=self.settings)
            views = views_by_image(run.grids)
            sizes = [tuple(grid.frame.canvas for grid in grids) for grids in views]
            self._recent.update(zip(new, zip(run.tokens, sizes, strict=True), strict=True))
        seen = {}
        for key in distinct:
            self._recent.move_to_end(key)
            seen[key] = self._recent[key]
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return seen

    def forget(self) -> None:
        """See `ConversationModel.forget`."""
        self._picture_tokens.clear()
        self._recent.clear()

    def _ids(self, messages: Sequence[Message]) -> torch.Tensor:
        """`[1 l]`, the conversation as ids, with one placeholder a picture."""
        ids = self.processor.prompt_ids([dict(message) for message in messages])
        return torch.tensor([ids], device=self.model.device)

    @torch.no_grad()
    def _encoded(self, picture: Picture, seconds: dict[str, float]) -> PictureTokens:
        """A picture's tokens; what they took is added to `seconds` if the picture is new."""
        if picture.key not in self._picture_tokens:
            run = self.model.run([picture], settings=self.settings)
            seconds["encode"] += run.seconds["segment"] + run.seconds["encode"]
            seconds["regions"] += run.seconds["regions"] + run.seconds["pool"]
            self._picture_tokens[picture.key] = PictureTokens(
                picture=picture,
                tokens=run.tokens,
                frames=tuple(grid.frame for grid in run.grids),
                regions=tuple(regions.to("cpu") for regions in run.regions),
                masks=run.grids[0].masks if run.grids else None,
            )
        return self._picture_tokens[picture.key]


def open_conversation_model(
    name: str,
    *,
    regions: str = "",
    segmenter: str = "",
    template: str = "",
    settings: UsedSettings = "answering",
    changes: Sequence[str] = (),
    revision: str = "",
    device: str = "cpu",
) -> ConversationModel:
    """A trained `RegionVLM` by its folder or shipped name, or a released model.

    Args:
        name: folder, name of a model that comes with the package, or hub name.
        regions, segmenter: specs for a released model; a trained one has its own.
        template: for a trained model, the name of a template that takes the place of the saved one.
        settings: for a trained model, how it reads pictures: as it is to be asked ("answering"), or
            as it was trained ("trained").
        changes: for a trained model, changes of single keys of these settings, such as
            ``"encoder=filters(shuffle=0)"``.
        revision: branch, tag or commit of a hub name; "" is its main branch.
        device: where it runs.

    Raises:
        ValueError: If there is no model, it has no tokenizer or chat template, or an option is
            given that is for models of the other kind.
    """
    folder = local_folder(name)
    if folder is not None and not (folder / "config.json").is_file():
        raise ValueError(
            f"{name} holds no config.json: give the folder of a model (save_pretrained), or a hub "
            "name"
        )
    if folder is not None and _model_type(folder) == RegionVLMConfig.model_type:
        check_no_revision(name, revision)
        if regions or segmenter:
            raise ValueError(
                f"{name} was trained with its own regions: leave out --regions and --segmenter"
            )
        with quiet_transformers():
            model = RegionVLM.from_pretrained(folder)
            processor = load_processor(folder, template)
        return TrainedConversationModel(
            model.to(resolve_device(device)).eval(),
            processor,
            settings=changed(model.settings_of(settings), changes),
        )
    if template or settings != "answering" or changes:
        raise ValueError(
            f"{name} is a released model, which has its own template and settings: a template, "
            "the settings of training and changes of them are for trained models"
        )
    released = from_vlm(
        name,
        regions=regions,
        segmenter=segmenter or None,
        device=device,
        revision=revision or None,
    )
    return ReleasedConversationModel(released)


def _model_type(folder: Path) -> str:
    config_file = folder / "config.json"
    try:
        return str(read_json(config_file).get("model_type"))
    except OSError as error:
        raise ValueError(f"{config_file} cannot be read ({error})") from None
