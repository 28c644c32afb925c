"""The visual side of a model inside a server: pictures in, tokens out, other steps a request.

The language model is the server's own and is never loaded here. One lock lets one batch of pictures
through at a time: the modules keep what they saw while they run.

After: nothing.
Differs: nothing known: the tokens are those of `RegionVLM.generate` and of `from_vlm`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import torch

from regiontok.core.picture import Picture
from regiontok.model.config import RegionVLMConfig
from regiontok.model.eyes import RegionEyes
from regiontok.model.visual import UsedSettings
from regiontok.released.loading import eyes_of_vlm
from regiontok.released.vlm import ReleasedVLM
from regiontok.serve.row_checks import check_rows
from regiontok.serve.token_source import check_positions
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.checkpoint import locate, read_json
from regiontok.system.devices import device_kind, resolve_device
from regiontok.tokenizer.pipeline import RegionPipeline

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MOST_SPECS = 32  # specs of requests whose pipelines are kept


@dataclass(frozen=True, eq=False, kw_only=True)
class ServedImage:
    """The tokens of one picture.

    Attributes:
        values: `[k e]`, of the language model's width; k is at least 1.
        positions: `[k 2]` float64, (y, x) of each token's centroid in patches, for models with
            positions on several axes; None where positions count tokens.
        extent: positions that the picture takes on its longer side; 0 beside no positions.
    """

    values: Float[Tensor, "k e"]
    positions: Float[Tensor, "k 2"] | None = None
    extent: int = 0


class ServedEyes(Protocol):
    """What a server asks of the visual side of a model."""

    def see(self, pictures: Sequence[Picture], regions: str | None) -> list[ServedImage]:
        """The tokens of each picture.

        Args:
            pictures: the pictures.
            regions: steps in place of the server's own; None takes those.

        Raises:
            ValueError: If the steps cannot be built, or leave a picture without a token.
        """
        ...


def open_served_eyes(
    name: str,
    *,
    regions: str | None = None,
    segmenter: str = "",
    revision: str = "",
    device: str = "cpu",
) -> ServedEyes:
    """The visual side of a `RegionVLM` folder or of a released model.

    Args:
        name: a folder, or a hub name.
        regions: steps for requests that name none; None are a trained model's own, and a released
            model's own tokens.
        segmenter: spec, for regions that read masks; "" is a trained model's own.
        revision: branch, tag or commit of a hub name; "" is its main branch.
        device: where the model computes.

    Raises:
        ValueError: If there is no such model, or the specs cannot be built.
        NotServed: If a server cannot keep the model's positions.
    """
    folder = locate(name, revision or None)
    if read_json(folder / "config.json").get("model_type") == RegionVLMConfig.model_type:
        check_positions(folder, name)
        return TrainedEyes(folder, regions=regions, segmenter=segmenter, device=device)
    vlm = eyes_of_vlm(
        name,
        regions=regions or "",
        segmenter=segmenter or None,
        revision=revision or None,
        device=device,
    )
    return ReleasedEyes(vlm)


def check_specs(
    name: str,
    *,
    regions: str | None = None,
    segmenter: str = "",
    revision: str = "",
    device: str = "cpu",
) -> None:
    """Refuse what the first picture would be refused for, before a server says that it is ready.

    The eyes are not opened: no weights are read. Nor is it asked whether the device is in this
    machine: the engine's process may see others than the one that opens the eyes.

    Args:
        name, regions, segmenter, revision, device: see `open_served_eyes`.

    Raises:
        ValueError: If the specs cannot be built or do not fit each other, or no machine has such a
            device.
    """
    device_kind(device)
    config = read_json(locate(name, revision or None) / "config.json")
    trained = config.get("model_type") == RegionVLMConfig.model_type
    own = RegionVLMConfig.from_dict(config).settings.segmenter if trained else ""
    RegionPipeline(segmenter=segmenter or own, steps=regions or "")


class TrainedEyes:
    """The visual side of a `RegionVLM`, which answers as `RegionVLM.generate` does.

    Args:
        folder: the model's folder.
        regions, segmenter, device: see `open_served_eyes`.
    """

    def __init__(
        self, folder: Path, *, regions: str | None = None, segmenter: str = "", device: str = "cpu"
    ) -> None:
        self._eyes = RegionEyes.of_folder(folder).eval()
        torch.nn.Module.to(self._eyes, resolve_device(device))
        self._regions, self._segmenter, self._lock = regions, segmenter, Lock()
        self._eyes.regionizer_of(self._settings(regions))  # a wrong encoder ends the server's start

    def see(self, pictures: Sequence[Picture], regions: str | None) -> list[ServedImage]:
        """See `ServedEyes.see`."""
        steps = self._regions if regions is None else regions
        with self._lock, torch.no_grad():
            tokens = self._eyes.see(pictures, regions=steps, settings=self._settings(steps))
        return [
            _checked(ServedImage(values=values), self._eyes.width, picture)
            for values, picture in zip(tokens.split(), pictures, strict=True)
        ]

    def _settings(self, steps: str | None) -> UsedSettings:
        """As the model is to be asked, or as it was trained where steps are given."""
        used: UsedSettings = "answering" if steps is None else "trained"
        if not self._segmenter:
            return used
        values = self._eyes.settings_of(used).model_dump()
        return TokenizerSettings.model_validate({**values, "segmenter": self._segmenter})


class ReleasedEyes:
    """Tower and projector of a released model, which answer as `from_vlm` does.

    Args:
        vlm: the model without its language model.
    """

    def __init__(self, vlm: ReleasedVLM) -> None:
        self._vlm, self._lock = vlm, Lock()
        self._by_spec: OrderedDict[str, ReleasedVLM] = OrderedDict()
        self._width = int(vlm.model.config.get_text_config().hidden_size)

    def see(self, pictures: Sequence[Picture], regions: str | None) -> list[ServedImage]:
        """See `ServedEyes.see`."""
        with self._lock, torch.no_grad():
            vlm = self._vlm if regions is None else self._with(regions)
            prepared = vlm.prepare(list(pictures), [vlm.processor.image_token] * len(pictures))
        images = [
            ServedImage(values=image.values, positions=image.positions, extent=max(image.grids[-1]))
            if prepared.has_positions
            else ServedImage(values=image.values)
            for image in prepared.tokens
        ]
        return [
            _checked(image, self._width, picture)
            for image, picture in zip(images, pictures, strict=True)
        ]

    def _with(self, regions: str) -> ReleasedVLM:
        """The same model with other steps."""
        if regions not in self._by_spec:
            made = self._vlm
            segmenter: Any = made.pipeline.segmenter
            self._by_spec[regions] = ReleasedVLM(
                made.model, made.processor, regions=regions, segmenter=segmenter
            )
        self._by_spec.move_to_end(regions)
        while len(self._by_spec) > MOST_SPECS:
            self._by_spec.popitem(last=False)
        return self._by_spec[regions]


def _checked(image: ServedImage, width: int, picture: Picture) -> ServedImage:
    """The image itself, if its tokens are rows that the language model can read."""
    check_rows(image.values, width, f"the picture of {picture.size[0]} x {picture.size[1]} pixels")
    return image
