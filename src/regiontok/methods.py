"""The contract of each kind of method: what a class must offer, and every hook with its default.

A method is a frozen dataclass that derives from one of these classes. Its fields are its spec text,
its argument checks and its cache key. A capability is asked of the contract (``pool.one_token``),
never of a method's name; a hook that a class leaves out has the default that stands here.

| kind | class | must have |
| --- | --- | --- |
| encoder | `Encoder` | `width`, `frame`, `encode` |
| segmenter | `Segmenter` | `__call__` |
| transform | `Transform` | `one` |
| step | `RegionStep` | `one` |
| pool | `Pool` | `build` |
| place | `Place` | `build` |
| connector | `Connector` | `build` |

Released vision-language models have a contract of their own, `regiontok.released.family.Family`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.grid import PatchGrid, stacked
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.system.devices import device_kind

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Method:
    """What methods of every kind have in common.

    Attributes:
        version: number that is raised when the same arguments come to mean something else; it is
            part of every cache key.
    """

    version: ClassVar[int] = 1

    @property
    def identity(self) -> str:
        """What decides the result beside the spec, as text; "" where nothing does.

        It may be a hash of weights or of a file, or the version of a library, and is part of every
        cache key.
        """
        return ""

    def but(self, **changes: Any) -> Self:
        """The same method with other values in the fields that are named."""
        return replace(self, **changes)  # type: ignore[type-var]  # a method is a dataclass

    @property
    def wants_gpu(self) -> bool:
        """True if it has a field `device` that does not name the CPU."""
        return _has_field(self, "device") and device_kind(getattr(self, "device")) != "cpu"  # noqa: B009

    def on(self, device: str) -> Self:
        """The same method on another device; one without a field `device` stays as it is."""
        if not _has_field(self, "device") or getattr(self, "device") == device:  # noqa: B009
            return self
        return self.but(device=device)


class Encoder(Method, ABC):
    """A frozen vision encoder: pictures to grids of patch features."""

    @property
    @abstractmethod
    def width(self) -> int:
        """d, the length of a feature."""

    @abstractmethod
    def frame(self, size: Pair) -> Frame:
        """How an image of `size` = (height, width) pixels lies under the patch grid."""

    @abstractmethod
    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture: features `[h w d]` without gradient, and the picture's key.

        The key goes in as ``PatchGrid(features, frame, key=picture.key)``.
        """

    # what it offers beside features

    @property
    def summaries(self) -> int:
        """How many CLS or summary tokens stand at the front of a grid's prefix.

        Registers, which follow them, do not count.
        """
        return 0

    @property
    def has_cls(self) -> bool:
        """True if there is a CLS or summary token."""
        return self.summaries > 0

    @property
    def cls_attention(self) -> bool:
        """True if grids carry the attention that CLS pays to each patch."""
        return False

    @property
    def threshold(self) -> float | None:
        """The threshold for `merge` that suits this encoder; None where none was measured."""
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the encoder's own classifier; empty if it has none."""
        return ()

    def logits(self, pictures: Sequence[Picture], size: int = 576) -> list[Float[Tensor, "h w c"]]:
        """The classifier's logits on the patch grid of each picture.

        Averaged over a region they name it.

        Raises:
            ValueError: If the encoder has no classifier (`classes` is empty).
        """
        raise ValueError(f"{type(self).__name__} has no classifier of its own")

    # how pictures are laid out

    @property
    def shuffle(self) -> int | None:
        """Seed by which patches are shuffled before the encoder sees them (row D10); None: not."""
        return None

    def prepare(self, picture: Picture) -> None:
        """Do ahead of `encode`, in any thread, what can be done with one picture alone.

        An encoder with a canvas lays the picture on it; the default does nothing.
        """

    @property
    def standardises(self) -> bool:
        """True if `encode_clip` standardises features over all frames of the clip.

        Encoders do that which have no normalising network of their own.
        """
        return False

    def encode_clip(self, pictures: Sequence[Picture]) -> PatchGrid:
        """One grid `[t h w d]` of the frames of a clip, which have one size.

        The default stacks the frames' own grids.
        """
        return stacked(self.encode(pictures))

    def framed(self, framing: Framing) -> Encoder:
        """The same encoder with pictures laid on its canvas in another way.

        Raises:
            ValueError: If it has no canvas of one size (the default).
        """
        raise ValueError(
            f"{type(self).__name__} has no canvas of one size on which a picture could be framed "
            f"by {framing!r}: leave framing out"
        )

    def for_tiles(self) -> Encoder:
        """The encoder as tiles need it.

        A picture of its canvas's own size goes through pixel by pixel.

        Raises:
            ValueError: If it has no canvas of one size (the default), or its framing is another.
        """
        raise ValueError(
            f"tiles need an encoder with a canvas of one size; {type(self).__name__} has none: "
            "leave tiles out"
        )

    @property
    def can_resize(self) -> bool:
        """True if `at_size` gives the encoder on another canvas: if it has a field `size`."""
        return _has_field(self, "size")

    def at_size(self, size: int | Pair) -> Encoder:
        """The same encoder on another canvas: the side of a square in pixels, or (height, width).

        Raises:
            ValueError: If the encoder has no canvas that can be resized.
        """
        if not self.can_resize:
            raise ValueError(f"{type(self).__name__} has no canvas whose size can be set")
        return self.but(size=size)

    # variants of the same network

    @property
    def layers(self) -> range | None:
        """The numbers that `at_layer` takes, counted from the input; None if there is no choice."""
        return None

    @property
    def layer_name(self) -> str:
        """Which layer the features are of; "" if there is no choice.

        It is "-2" of a transformer's hidden states, and "stage 1" of a network in stages.
        """
        return ""

    def at_layer(self, layer: int | None) -> Encoder:
        """The same network with the features of one of its `layers`.

        Negative numbers count from the last; None is the layer of a spec that names none.

        Raises:
            ValueError: If the encoder has no such layer, or no choice of layers at all.
        """
        if layer is None:
            return self
        raise ValueError(f"{type(self).__name__} has no choice of layers, got layer {layer}")

    @property
    def is_untrained(self) -> bool:
        """True if the network has random weights, as `untrained` gives it."""
        return False

    def untrained(self) -> Encoder | None:
        """The same network with random weights, or None if the encoder offers none.

        It is a control for what training adds.
        """
        return None

    @property
    def can_tune(self) -> bool:
        """True if `blank`, `tunable` and `tuned` give a tower that can be trained."""
        return False

    def blank(self) -> nn.Module:
        """The tower without weights: what a tuned copy's weights are loaded into.

        Raises:
            ValueError: If the encoder cannot be tuned.
        """
        raise ValueError(f"{type(self).__name__} cannot be tuned")

    def tunable(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy of the tower that may learn, with the checkpoint's weights, of type `dtype`.

        Raises:
            ValueError: If the encoder cannot be tuned.
        """
        raise ValueError(f"{type(self).__name__} cannot be tuned")

    def tuned(self, module: nn.Module) -> Encoder:
        """This encoder with the weights of a module that `tunable` or `blank` gave.

        Gradients reach them.

        Raises:
            ValueError: If the encoder cannot be tuned.
        """
        raise ValueError(f"{type(self).__name__} cannot be tuned")


class CanvasEncoder(Encoder):
    """An encoder that lays every picture on a canvas of one size, as its field `framing` says."""

    framing: Framing | None

    def framed(self, framing: Framing) -> Self:
        """See `Encoder.framed`."""
        return self if self.framing == framing else self.but(framing=framing)

    def for_tiles(self) -> Self:
        """See `Encoder.for_tiles`."""
        if self.framing not in (None, "stretch"):
            raise ValueError(
                "tiles lay the image out themselves, and the base view is stretched as in "
                f"LLaVA-NeXT: leave out framing={self.framing!r}"
            )
        return self if self.framing == "stretch" else self.but(framing="stretch")


class Segmenter(Method, ABC):
    """Pixel masks of pictures."""

    @abstractmethod
    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The masks of each picture, at the picture's own size; no masks at all is an answer."""

    @property
    def reads_pixels(self) -> bool:
        """True if masks are found in the pixels, so that a smaller copy of a picture will do.

        False looks them up by the picture's name or key, for the picture as it is.
        """
        return True

    @property
    def proposal_size(self) -> int:
        """The longer edge, in pixels, at which its masks are best as proposals of large regions.

        0 (the default) is the picture's own.
        """
        return 0

    def at_longest(self, size: int) -> Segmenter:
        """The same segmenter for pictures whose longer edge has `size` pixels.

        What it counts in pixels is scaled with the picture; the default counts nothing in pixels.
        """
        return self


class Transform(Method, ABC):
    """A change of the features that region steps read; pooled values stay as they were."""

    @property
    def reads_masks(self) -> bool:
        """True if it needs the segmenter's masks."""
        return False

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that the transform does not fit, before any picture is encoded.

        Raises:
            ValueError: If the encoder does not fit; the default takes every one.
        """

    @abstractmethod
    def one(self, grid: PatchGrid) -> PatchGrid:
        """Transform the grid of one view."""

    def many(self, grids: Sequence[PatchGrid]) -> list[PatchGrid]:
        """Transform the grids of a batch; the default goes over them one by one."""
        return [self.one(grid) for grid in grids]


class RegionStep(Method, ABC):
    """A change of the regions of a view: merge them, split them, sort them."""

    @property
    def source(self) -> bool:
        """True if it makes regions afresh and ignores those it is given: it must stand first."""
        return False

    @property
    def reads_masks(self) -> bool:
        """True if it needs the segmenter's masks."""
        return False

    @property
    def leaves_out(self) -> bool:
        """True if it may leave out regions that fit no budget: reports count them."""
        return False

    @property
    def keeps_count(self) -> bool:
        """True if it gives as many regions as it gets, whatever the picture."""
        return False

    @property
    def exact_count(self) -> int | None:
        """The number of regions it makes, or None if that depends on the picture.

        A picture whose grid has fewer patches may become fewer regions.
        """
        return None

    @abstractmethod
    def one(self, regions: Regions, grid: PatchGrid) -> Regions:
        """The regions of one view."""

    def many(self, regions: Sequence[Regions], grids: Sequence[PatchGrid]) -> list[Regions]:
        """The regions of a batch of views; the default goes over them one by one."""
        return [self.one(of_view, grid) for of_view, grid in zip(regions, grids, strict=True)]


class Pool(Method, ABC):
    """How the patches of a region become its visual tokens."""

    @property
    def one_token(self) -> bool:
        """True if every region becomes exactly one token.

        False (the default) lets a region have any number: lengths are then measured picture by
        picture.
        """
        return False

    @property
    def keeps_patches(self) -> bool:
        """True if the tokens of a region are all its patches.

        The whole image as a region is then the sequence of patches itself (row O6).
        """
        return False

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """The module ``(values [n d], Members, kind=REGION) -> Tokens`` for features of `width`."""


class Place(Method, ABC):
    """What tells the language model where a token belongs: delimiters, positions."""

    @property
    def token(self) -> str | None:
        """The word of the vocabulary that serves as delimiter.

        It is "" if delimiters are vectors, and None if the place adds no delimiters.
        """
        return None

    @property
    def most_masks(self) -> int | None:
        """The most masks of an image that it has positions for; None takes any number."""
        return None

    reads_members: ClassVar[bool] = False  # whether its module gets the regions' patches, too

    @abstractmethod
    def build(self, width: int) -> nn.Module:
        """The module ``(Tokens, list[PatchGrid]) -> Tokens`` for tokens of `width`.

        With `reads_members` it is ``(Tokens, list[PatchGrid], Members) -> Tokens``.
        """


class Connector(Method, ABC):
    """The way from the encoder's width to the language model's."""

    @property
    def rows(self) -> int:
        """How many tokens of the language model each visual token becomes, one after the other."""
        return 1

    @property
    def words(self) -> tuple[str, ...]:
        """The words whose embeddings its module needs of the language model; see `take_words`."""
        return ()

    names_regions: ClassVar[bool] = False  # whether `naming_loss` is its own

    @abstractmethod
    def build(self, width: int, out: int) -> nn.Module:
        """The module ``[t width] -> [t*rows out]``."""

    def take_words(
        self, module: nn.Module, ids: Sequence[int], embeddings: Float[Tensor, "words out"]
    ) -> None:
        """Give a built module what the language model knows of `words`; the default does nothing.

        Args:
            module: what `build` made.
            ids: the first id of each word.
            embeddings: the input embedding of each word.
        """

    def naming_loss(
        self, module: nn.Module, values: Float[Tensor, "t width"], words: Int[Tensor, "t names"]
    ) -> Float[Tensor, ""]:
        """The loss of saying the words of each visual token's object.

        Args:
            module: what `build` made.
            values: what it takes.
            words: ids of the words of each token's object.

        Raises:
            ValueError: If the connector names nothing (the default).
        """
        raise ValueError(f"{type(self).__name__} does not name regions")


def _has_field(method: Method, name: str) -> bool:
    return is_dataclass(method) and any(field.name == name for field in fields(method))


CONTRACTS: dict[str, type[Method]] = {
    "encoder": Encoder,
    "segmenter": Segmenter,
    "transform": Transform,
    "step": RegionStep,
    "pool": Pool,
    "place": Place,
    "connector": Connector,
}
