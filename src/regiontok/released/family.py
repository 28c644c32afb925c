"""The contract of a family of released models: views of each image, the projector, positions.

`RegionVLM.from_vlm` puts region tokens into a released model in five stages, and asks its family
for what only it knows:

1. The processor of transformers makes tensors of the pictures.
2. `Family.encode` runs the model's own vision tower and projector on them, and gives each image as
   views: patch grids with the features on either side of the projector, and the model's own tokens.
3. The pipeline makes regions on these grids, and the pool makes rows of them.
4. `Family.project` takes the rows through the model's own projector (unless regions are pooled
   behind it).
5. The tokens enter the language model as `mm_encoder_outputs`, one placeholder each;
   `Family.position_ids` gives their positions where the model cannot count them.

With the empty pipeline stages 3 and 4 fall away: the model's own tokens go in, and its output must
be that of the untouched model, bit by bit. A class that derives from `Family` must have `encode`
and `project`; everything else has a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.core.sizes import ShownBySizes
from regiontok.released.server_form import ServerForm
from regiontok.settings import registry
from regiontok.system.choices import nearest

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from PIL import Image

Cut = Literal["stitched", "tile"]


@dataclass(frozen=True, eq=False, repr=False)
class View(ShownBySizes):
    """One view of an image: the whole of it, one tile, or all tiles stitched to one grid.

    A "patch" of the grid is what the projector takes as one row: a patch of the tower, or a cell of
    several patches where the model merges or averages those before it projects.

    Attributes:
        grid: the patch grid that region steps read, features `[h w d]` in float32. Its frame says
            exactly which pixels of the decoded image lie under which patch, since masks reach the
            grid through it; its other fields are set by `ReleasedVLM`.
        projector_inputs: what the projector reads, `[h w d]` in the model's type; then what the
            projector of each deep-stacked layer reads, in their order.
        projector_outputs: what these projectors give, `[h w e]` each, in the same order.
    """

    grid: PatchGrid
    projector_inputs: tuple[Float[Tensor, "h w d"], ...]
    projector_outputs: tuple[Float[Tensor, "h w e"], ...]

    @classmethod
    def of(
        cls,
        frame: Frame,
        projector_inputs: Float[Tensor, "h w d"],
        projector_outputs: Float[Tensor, "h w e"],
        cls_attention: Float[Tensor, "h w"] | None = None,
    ) -> View:
        """The view of a model with one projector, whose steps read what the projector reads.

        Args:
            frame: how the decoded image lies under the grid, `frame.grid` being (h, w).
            projector_inputs: what the projector reads of each patch.
            projector_outputs: what it gives.
            cls_attention: the attention that CLS pays to each patch; None if there is no CLS.
        """
        grid = PatchGrid(projector_inputs.float(), frame, cls_attention=cls_attention)
        return cls(grid, (projector_inputs,), (projector_outputs,))


@dataclass(frozen=True, eq=False, repr=False)
class EncodedImage(ShownBySizes):
    """One image as the model's own tower and projector encoded it.

    Attributes:
        views: the views in the order in which the language model gets them; of each the regions
            become tokens, view by view.
        model_tokens: the model's own tokens `[t e]`, exactly as its language model would get them,
            newline tokens and all; then those of each deep-stacked layer. The empty pipeline uses
            them, and they need not be the patches of the views.
        token_positions: `[t 2]` float64, (y, x) of each of the model's own tokens in patches of the
            last view's grid, for families that give `position_ids`; None for all others.
        token_places: `[t 2]` int64, (view, patch) of each of the model's own tokens, -1 for a
            newline; None if they are the patches of the one view, or lie on no view.
    """

    views: tuple[View, ...]
    model_tokens: tuple[Float[Tensor, "t e"], ...]
    token_positions: Float[Tensor, "t 2"] | None = None
    token_places: Int[Tensor, "t 2"] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ImageTokens(ShownBySizes):
    """The visual tokens of one image, ready for the language model.

    Attributes:
        values: `[t e]`, of the language model's width and type.
        deepstack: `[t e]` for each deep-stacked layer; empty where the family has none.
        view: `[t]` int64: the view of each token; -1 for the model's own tokens.
        region: `[t]` int64: the region of its view; -1 for the model's own tokens.
        positions: `[t 2]` float64, (y, x): the centroid of the token's region (or its patch), in
            patches of its view's grid; the centre of the first patch is (0, 0).
        frames: of each view, how the image lies under its grid.
        regions: the regions of each view; empty for the model's own tokens.
        patch: `[t]` int64: raster index of the token's patch on its view's grid, -1 for a pooled
            token; None for the model's own tokens.
        masks: the pixel masks that the `source` of a region counts; None if no step reads any.
        places: see `EncodedImage.token_places`; None for regions.
    """

    values: Float[Tensor, "t e"]
    deepstack: tuple[Float[Tensor, "t e"], ...]
    view: Int[Tensor, "t"]
    region: Int[Tensor, "t"]
    positions: Float[Tensor, "t 2"]
    frames: tuple[Frame, ...]
    regions: tuple[Regions, ...] = ()
    patch: Int[Tensor, "t"] | None = None
    masks: PixelMasks | None = None
    places: Int[Tensor, "t 2"] | None = None

    @property
    def grids(self) -> tuple[Pair, ...]:
        """(h, w) of each view."""
        return tuple(frame.grid for frame in self.frames)

    def __len__(self) -> int:
        return len(self.values)


class Family(ABC):
    """What is known of one family of released models; one object belongs to one loaded model.

    A class of another package is registered as
    ``register("family", "its_model_type", "module:Class")`` or by the entry point
    ``regiontok.family``; the name is the `model_type` of the models' config.json.

    Args:
        model: the loaded model of transformers; its weights are never changed.
        processor: its processor.

    Attributes:
        tower_inputs: names of the processor's outputs that only the vision tower reads
            ("pixel_values", "image_sizes" ...): they go to `encode` and not to the model.
        language_modules: names of the model's modules that neither `encode` nor `project` calls: a
            model that makes tokens for a server is loaded without them.
        server_form: how vLLM takes ready-made tokens of such a model; None if it does not.

    Raises:
        ValueError: If the family cannot handle this model or this processor. A constructor that
            checks more than the default calls `super().__init__` first.
    """

    tower_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    language_modules: ClassVar[tuple[str, ...]] = ("model.language_model", "lm_head")
    server_form: ClassVar[ServerForm | None] = None

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @abstractmethod
    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Run the model's own tower and projector: each image as the model sees it.

        It is called without gradient. `recorded_calls` around the model's own
        `get_image_features` gives both sides of the projector without a copy of that code.

        Args:
            inputs: the processor's outputs that `tower_inputs` names, tensors on the model's device
                and, where they are floating point, in its type.
            sizes: (height, width) in pixels of each decoded image, in their order.
            cut: "stitched" makes one view of an image's tiles, "tile" one view of each; a family
                without tiles ignores it.
        """

    @abstractmethod
    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Rows, single patches or means of several, through the model's own projector.

        Args:
            rows: `[k d]` in the type of `View.projector_inputs`; k may be 0.
            level: 0 is the projector, n that of the n-th deep-stacked layer.
        """

    @property
    def image_token(self) -> str:
        """The text that stands for one visual token in an expanded prompt.

        The default is the processor's `image_token`, which in most families also stands for the
        whole image in a prompt that is not expanded yet.
        """
        return str(self.processor.image_token)

    @property
    def deepstack_levels(self) -> int:
        """How many deep-stacked layers get tokens of their own; the default is none."""
        return 0

    def arrange_images(
        self, images: list[Image.Image], counts: Sequence[int], by_prompt: bool
    ) -> list[Any]:
        """The images of all prompts as the processor wants them; the default is a flat list.

        Args:
            images: all images, in the order of their placeholders.
            counts: how many of them each prompt has.
            by_prompt: True if the caller gave a list of images a prompt, which some families read
                otherwise than a flat list.
        """
        return images

    def position_ids(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> Float[Tensor, "axes b s"] | None:
        """Position ids of expanded prompts; None (the default) where the model counts right itself.

        Args:
            ids: `[b s]` int64, one placeholder a visual token.
            mask: `[b s]`, 1 for a token and 0 for padding.
            images: the tokens of each image, in the order of their placeholders in the batch.
        """
        return None

    def remember_positions(  # noqa: B027 - a hook that may stay empty
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """Keep in the model what it needs to go on counting behind these prompts.

        It is called before each forward pass and generation of a family that gives `position_ids`,
        with the same arguments. The default keeps nothing.
        """


def split_by_prompt(images: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """Images in their order, cut into a list a prompt.

    >>> split_by_prompt(["a", "b", "c"], [1, 0, 2])
    [['a'], [], ['b', 'c']]
    """
    remaining = iter(images)
    return [[next(remaining) for _ in range(count)] for count in counts]


@contextmanager
def recorded_calls(projector: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While it is open, a list of what the projector reads and gives, one pair a call.

    The features are the model's own, whatever layer it selects.
    """
    calls: list[tuple[Tensor, Tensor]] = []
    handle = projector.register_forward_hook(
        lambda _module, inputs, output: calls.append((inputs[0], output))
    )
    try:
        yield calls
    finally:
        handle.remove()


def family_of(model: Any, processor: Any) -> Family:
    """The family of a released model, built around it.

    Raises:
        ValueError: If no family is registered for the model's `model_type`.
    """
    model_type = check_model_type(model.config.model_type, registry.names("family"))
    family: Family = registry.load("family", model_type)(model, processor)
    return family


def check_model_type(model_type: str, known: Iterable[str]) -> str:
    """The model type itself.

    Raises:
        ValueError: If it is not one of the known types.
    """
    known = list(known)
    if model_type not in known:
        raise ValueError(
            f"model_type {model_type!r} is not one of {', '.join(known)}"
            f"{nearest(model_type, known)}"
        )
    return model_type
