"""Published outputs of pretrained models: numbers that a right checkpoint, rightly read, must give.

The numbers are those of transformers' own integration tests
(https://github.com/huggingface/transformers, Apache License 2.0), in
`tests/models/{clip,dinov2,siglip2,sam2}`; each slice says which and with which tolerance. The
photos are theirs too and are not shipped: COCO val2017 000000039769 (two cats), and truck.jpg and
groceries.jpg of https://github.com/facebookresearch/sam2 (notebooks/images). SigLIP2's pictures are
drawn by `runners.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SlicePhoto:
    """A photo by the file names it goes by.

    Attributes:
        names: the file names.
        size: its (H, W): another photo of that name is not taken for it.
    """

    names: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class OutputSlice:
    """Some published numbers of one checkpoint.

    Attributes:
        model: hub name of the checkpoint.
        runner: which of `regiontok.jobs.check.runners.RUNNERS` computes the outputs.
        expected: the numbers by the name of the output, nested as they come.
        photos: the photos that are shown; none if the runner draws its own pictures.
        prompts: texts, points or boxes in pixels of the photo (x, y), for the runner.
        rtol: relative tolerance, as `torch.testing.assert_close` takes it.
        atol: absolute tolerance.
        source: whose numbers they are.
        note: what is known of a difference.
    """

    model: str
    runner: str
    expected: Mapping[str, Any]
    photos: tuple[SlicePhoto, ...] = ()
    prompts: Mapping[str, Any] = field(default_factory=dict)
    rtol: float = 0.0
    atol: float = 1e-4
    source: str = ""
    note: str = ""


CATS = SlicePhoto(("000000039769.png", "000000039769.jpg"), (480, 640))
TRUCK = SlicePhoto(("truck.jpg",), (1200, 1800))
GROCERIES = SlicePhoto(("groceries.jpg",), (534, 800))
SHAPES = (
    "circle",
    "ellipsoid",
    "blue circle on red background",
    "blue circle with green border on red background",
    "green circle on red background",
    "a dog",
    "a blue dog with a green border on a red background",
)
SIGLIP2_LOGITS = (
    (1.0195, -0.0280, -1.4468),
    (-4.5395, -6.2269, -1.5667),
    (4.1757, 5.0358, 3.5159),
    (9.4264, 10.1879, 6.3353),
    (2.4409, 3.1058, 4.5491),
    (-12.3230, -13.7355, -13.4632),
    (1.1520, 1.1687, -1.9647),
)
TRUCK_BOXES = (
    (75, 275, 1725, 850),
    (425, 600, 700, 875),
    (1375, 550, 1650, 800),
    (1240, 675, 1400, 750),
)
GROCERIES_BOXES = (
    (450, 170, 520, 350),
    (350, 190, 450, 350),
    (500, 170, 580, 350),
    (580, 170, 640, 350),
)
SAM2 = "facebook/sam2.1-hiera-tiny"
SAM2_SOURCE = "transformers tests/models/sam2 @01841b34"

SLICES = (
    OutputSlice(
        model="openai/clip-vit-base-patch32",
        runner="clip",
        expected={"logits per image": ((24.5701, 19.3049),)},
        photos=(CATS,),
        prompts={"texts": ("a photo of a cat", "a photo of a dog")},
        rtol=1e-3,
        atol=1e-3,
        source="transformers tests/models/clip",
    ),
    OutputSlice(
        model="facebook/dinov2-base",
        runner="features",
        expected={
            "CLS and 2 patches, 3 channels": (
                (-2.1747, -0.4729, 1.0936),
                (-3.2780, -0.8269, -0.9210),
                (-2.9129, 1.1284, -0.7306),
            )
        },
        photos=(CATS,),
        source="transformers tests/models/dinov2",
        note="numbers of transformers' PIL image processor; a photo decoded by another JPEG "
        "library may be off by more",
    ),
    OutputSlice(
        model="google/siglip2-base-patch16-naflex",
        runner="siglip2",
        expected={"logits per text": SIGLIP2_LOGITS},
        prompts={"texts": SHAPES},
        rtol=1e-3,
        atol=1e-3,
        source="transformers tests/models/siglip2 @01ae98ae",
        note="recorded on CUDA; the same test's numbers for ROCm are up to 0.012 off",
    ),
    OutputSlice(
        model=SAM2,
        runner="sam2",
        expected={
            "IoU estimates": (0.9547, 0.4932, 0.0427),
            "best mask's logits": (
                (-24.9288, -41.7466, -31.0128),
                (-34.5113, -31.1054, -36.5913),
                (-25.2597, -37.5912, -33.4030),
            ),
        },
        photos=(TRUCK,),
        prompts={"points": ((500, 375),), "multimask": True},
        rtol=1e-4,
        source=SAM2_SOURCE,
    ),
    OutputSlice(
        model=SAM2,
        runner="sam2",
        expected={
            "IoU estimates": (0.9364,),
            "best mask's logits": (
                (-7.0462, -13.3857, -9.6419),
                (-10.4565, -9.7174, -12.3528),
                (-7.3704, -12.4391, -10.5539),
            ),
        },
        photos=(TRUCK,),
        prompts={"points": ((500, 375),), "multimask": False},
        rtol=1e-4,
        source=SAM2_SOURCE,
    ),
    OutputSlice(
        model=SAM2,
        runner="sam2",
        expected={
            "IoU estimates": ((0.9904, 0.9689, 0.9770, 0.9079), (0.9739, 0.9816, 0.9838, 0.9781))
        },
        photos=(TRUCK, GROCERIES),
        prompts={"boxes": (TRUCK_BOXES, GROCERIES_BOXES), "multimask": False},
        rtol=1e-4,
        source=SAM2_SOURCE,
    ),
)
