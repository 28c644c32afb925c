"""Frame: image pixels to crop, resized picture, canvas and patch grid, and back.

The only file where pixels meet patches.

After: diagnostic study, appendix E.1 (masks take the image's own resize, pad and crop; rows D4, O1
use this file).
Differs: masks meet patches by exact area overlap instead of resize-then-pool. That is the same up
to interpolation, faster, and nothing bleeds (a resized left-half mask reached columns 12-21 of 24
on small photos).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.overlap import overlap_of_runs
from regiontok.core.picture import Picture
from regiontok.core.sizes import shape_text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num

Pair = tuple[int, int]
Framing = Literal["stretch", "letterbox", "crop"]
Mapping = Literal["grid2d", "flat1d"]
CHUNK = 32  # masks decoded at once: 32 masks of 640x480 are 39 MB as float32


@dataclass(frozen=True, repr=False)
class Frame:
    """How one image lies under a patch grid.

    All pairs are (height, width), all coordinates (y, x).

    Attributes:
        image: size of the decoded image in pixels.
        crop: (y0, x0, y1, x1), the part of the image that is used, in image pixels; fractions are
            allowed.
        resized: size of that part after resizing, in canvas pixels.
        offset: where its upper left corner lies on the canvas.
        canvas: size of the encoder's input; what the resized part does not cover is padding.
        patch: size of one patch in canvas pixels. Pixels right of and below the last whole patch
            are seen by no patch.

    Raises:
        ValueError: If a size is below one pixel, or the canvas is smaller than one patch.

    >>> frame = Frame.letterbox((100, 200), canvas=(336, 336), patch=(14, 14))
    >>> frame
    Frame(image 100 x 200, canvas 336 x 336, 24 x 24 patches)
    >>> frame.resized, frame.offset, int(frame.valid.sum())
    ((168, 336), (84, 0), 288)
    """

    image: Pair
    crop: tuple[float, float, float, float]
    resized: Pair
    offset: Pair
    canvas: Pair
    patch: Pair

    def __post_init__(self) -> None:
        if min(self.image + self.resized + self.patch) < 1:
            raise ValueError(
                f"sizes must be at least one pixel: image {self.image}, resized {self.resized}, "
                f"patch {self.patch}"
            )
        if min(self.grid) < 1:
            raise ValueError(f"the canvas {self.canvas} is smaller than one patch {self.patch}")

    def __repr__(self) -> str:
        image, canvas, grid = map(shape_text, (self.image, self.canvas, self.grid))
        return f"Frame(image {image}, canvas {canvas}, {grid} patches)"

    @classmethod
    def stretch(cls, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The whole image, stretched to the canvas; the aspect ratio is lost."""
        return cls(
            image=image,
            crop=_whole(image),
            resized=canvas,
            offset=(0, 0),
            canvas=canvas,
            patch=patch,
        )

    @classmethod
    def letterbox(cls, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The whole image in its aspect ratio, centred and padded (LLaVA-1.5's ``pad``)."""
        scale = min(canvas[0] / image[0], canvas[1] / image[1])
        height, width = (max(1, round(side * scale)) for side in image)
        return cls(
            image=image,
            crop=_whole(image),
            resized=(height, width),
            offset=((canvas[0] - height) // 2, (canvas[1] - width) // 2),
            canvas=canvas,
            patch=patch,
        )

    @classmethod
    def center_crop(cls, image: Pair, canvas: Pair, patch: Pair, edge: int | None = None) -> Frame:
        """The canvas cut from the centre of the resized image, as CLIP's processor does.

        The crop is taken in image coordinates before resizing: a 20,000 x 10 photo never becomes
        672,000 pixels long.

        Args:
            image: size of the image.
            canvas: size of the encoder's input.
            patch: size of one patch.
            edge: what the image's shortest edge is resized to before the cut; by default the
                canvas's longer side.

        Raises:
            ValueError: If `edge` is smaller than the canvas, so that the cut would need padding.
        """
        edge = max(canvas) if edge is None else edge
        if edge < max(canvas):
            raise ValueError(f"shortest edge {edge} is smaller than the canvas {canvas}")
        shortest = min(image)
        starts, ends = [], []
        for length, cut in zip(image, canvas, strict=True):
            full = edge if length == shortest else int(edge * length / shortest)
            start, per_pixel = (full - cut) // 2, length / full
            starts.append(start * per_pixel)
            ends.append(min((start + cut) * per_pixel, length))
        return cls(
            image=image,
            crop=(*starts, *ends),  # type: ignore[arg-type]
            resized=canvas,
            offset=(0, 0),
            canvas=canvas,
            patch=patch,
        )

    @classmethod
    def fit(
        cls, framing: Framing, image: Pair, canvas: Pair, patch: Pair, edge: int | None = None
    ) -> Frame:
        """The frame of one of the three framings, by name; `edge` is for `center_crop` alone."""
        if framing == "crop":
            return cls.center_crop(image, canvas, patch, edge)
        if framing == "stretch":
            return cls.stretch(image, canvas, patch)
        if framing == "letterbox":
            return cls.letterbox(image, canvas, patch)
        raise ValueError(f"framing must be 'stretch', 'letterbox' or 'crop', not {framing!r}")

    @property
    def grid(self) -> Pair:
        """(h, w), the whole patches on the canvas."""
        return self.canvas[0] // self.patch[0], self.canvas[1] // self.patch[1]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1), the part of the image that patches see, in image pixels.

        384 px at patch 14 is a 27 x 27 grid over 378 px.
        """
        y0, y1, x0, x1 = (
            float(edge)
            for axis in (0, 1)
            for edge in self._to_image(axis, np.array([0.0, self.grid[axis] * self.patch[axis]]))
        )
        return y0, x0, y1, x1

    @cached_property
    def valid(self) -> Bool[Tensor, "h w"]:
        """True where a patch sees at least one pixel of the image; False is padding only."""
        rows, columns = ((self._weights(axis).sum(1) > 0) for axis in (0, 1))
        return rows[:, None] & columns[None, :]

    @cached_property
    def content(self) -> Float[Tensor, "h w"]:
        """Share of each patch that is image and not padding."""
        rows, columns = (self._weights(axis).sum(1) for axis in (0, 1))
        return (rows[:, None] * columns[None, :]).float()

    def place(
        self, picture: Picture, *, resample: str = "bicubic", fill: tuple[int, int, int] = (0, 0, 0)
    ) -> np.ndarray:
        """The picture on the canvas: `[H W 3]` uint8, padding in the colour `fill`."""
        self._check_size(picture.size)
        resized = picture.resized(self.resized, self.crop, resample)
        if self.resized == self.canvas:
            return resized
        canvas = np.empty((*self.canvas, 3), np.uint8)
        canvas[:] = fill
        (y, x), (height, width) = self.offset, self.resized
        canvas[y : y + height, x : x + width] = resized
        return canvas

    def to_grid(
        self, masks: PixelMasks | Num[Tensor, "k H W"], mapping: Mapping = "grid2d"
    ) -> Float[Tensor, "k h w"]:
        """Share of each patch's own area that each mask covers.

        Args:
            masks: masks of the image.
            mapping: "grid2d" is the exact area overlap, `Wy @ mask @ Wx.T`. "flat1d" is OG-LLaVA's
                operator as published (section 5.1.1, row O1): the mask is flattened row by row and
                pooled in one dimension to h*w bins, so that "patch" i is the i-th run of the
                image's pixels, whatever the frame; the share is the run's.

        Raises:
            ValueError: If the masks have another size than the image.
        """
        if isinstance(masks, PixelMasks):
            self._check_size(masks.size)
            if mapping == "flat1d":
                return self._runs_to_bins(masks)
            weights = [self._weights(axis).numpy() for axis in (0, 1)]
            return torch.from_numpy(overlap_of_runs(masks, *weights)).float()
        self._check_size(tuple(masks.shape[1:]))
        if mapping == "flat1d":
            bins = self.grid[0] * self.grid[1]
            flat = torch.nn.functional.adaptive_avg_pool1d(masks.float().flatten(1), bins)
            return flat.view(len(masks), *self.grid)
        # float64: in float32 half of all patches covered by exactly one half came out just below
        # 0.5 (O1's threshold), and autocast and TF32 would round further
        rows, columns = (self._weights(axis).to(masks.device) for axis in (0, 1))
        return (rows @ masks.double() @ columns.T).float()

    def _runs_to_bins(self, masks: PixelMasks) -> Float[Tensor, "k h w"]:
        chunks = [range(i, min(i + CHUNK, len(masks))) for i in range(0, len(masks), CHUNK)]
        shares = [self.to_grid(masks.dense(chunk), "flat1d") for chunk in chunks]
        return torch.cat(shares) if shares else torch.zeros(0, *self.grid)

    def pixels_per_patch(self, mapping: Mapping = "grid2d") -> float:
        """Image pixels in one patch; shares times this are pixel counts (row O1's alpha).

        With the mapping "flat1d" they are the pixels of one run of the flattened image.
        """
        if mapping == "flat1d":
            return self.image[0] * self.image[1] / (self.grid[0] * self.grid[1])
        return (self.patch[0] / self._scale(0)) * (self.patch[1] / self._scale(1))

    def to_pixels(
        self, values: Num[Tensor, "*rest h w"], fill: float | None = None
    ) -> Num[Tensor, "*rest H W"]:
        """Patch values on the image's pixels; each pixel takes the patch under its centre.

        Args:
            values: any values on the patch grid.
            fill: what pixels get that no patch sees; by default -1 for integers, False for masks,
                NaN for floats.
        """
        if tuple(values.shape[-2:]) != self.grid:
            raise ValueError(
                f"expected values on the {self.grid} grid, got shape {list(values.shape)}"
            )
        if fill is None and values.dtype == torch.bool:
            fill = False
        elif fill is None:
            fill = float("nan") if values.is_floating_point() else -1
        rows, columns = (self._patch_of(axis).to(values.device) for axis in (0, 1))
        spread = values[..., rows.clamp(min=0), :][..., columns.clamp(min=0)]
        covered = (rows >= 0)[:, None] & (columns >= 0)[None, :]
        filler = torch.tensor(fill, dtype=values.dtype, device=values.device)
        return torch.where(covered, spread, filler)

    def boxes_to_grid(self, boxes: Num[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """xyxy boxes in image pixels -> xyxy boxes in patches, cut to what patches see.

        Column 0.5 is the middle of the first patch.
        """

        def to_patches(axis: int, pixels: np.ndarray) -> np.ndarray:
            patches = self._to_canvas(axis, pixels) / self.patch[axis]
            return np.clip(patches, 0, self.grid[axis])

        return _moved(boxes, to_patches)

    def boxes_to_pixels(self, boxes: Num[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """xyxy boxes in patches -> xyxy boxes in image pixels, cut to the crop."""
        return _moved(boxes, lambda axis, patches: self._to_image(axis, patches * self.patch[axis]))

    def _scale(self, axis: int) -> float:
        return self.resized[axis] / (self.crop[axis + 2] - self.crop[axis])

    def _to_canvas(self, axis: int, image_positions: np.ndarray) -> np.ndarray:
        """Image coordinates -> canvas coordinates, cut to the resized part."""
        inside: np.ndarray = np.clip(image_positions, self.crop[axis], self.crop[axis + 2])
        return self.offset[axis] + (inside - self.crop[axis]) * self._scale(axis)

    def _to_image(self, axis: int, canvas_positions: np.ndarray) -> np.ndarray:
        """Canvas coordinates -> image coordinates, cut to the crop."""
        inside: np.ndarray = np.clip(canvas_positions - self.offset[axis], 0, self.resized[axis])
        return self.crop[axis] + inside / self._scale(axis)

    def _weights(self, axis: int) -> Tensor:
        """`[patches pixels]` float64: share of patch i's length that image pixel j covers."""
        length = self.patch[axis]
        edges = self._to_canvas(axis, np.arange(self.image[axis] + 1, dtype=np.float64))
        starts = np.arange(self.grid[axis], dtype=np.float64)[:, None] * length
        overlap = np.minimum(edges[1:], starts + length) - np.maximum(edges[:-1], starts)
        overlap[overlap < 1e-9 * length] = 0  # edges that agree but for rounding do not touch
        return torch.from_numpy(overlap / length)

    def _patch_of(self, axis: int) -> Tensor:
        """`[pixels]`: the patch under each pixel's centre, -1 where none sees it."""
        centres = np.arange(self.image[axis]) + 0.5
        index = np.floor(self._to_canvas(axis, centres) / self.patch[axis]).astype(np.int64)
        in_crop = (centres >= self.crop[axis]) & (centres <= self.crop[axis + 2])
        return torch.from_numpy(np.where(in_crop & (index < self.grid[axis]), index, -1))

    def _check_size(self, size: tuple[int, ...]) -> None:
        if tuple(size) != tuple(self.image):
            raise ValueError(
                f"expected masks and pixels of the image's size {self.image}, got {tuple(size)}"
            )


def _whole(image: Pair) -> tuple[float, float, float, float]:
    return 0.0, 0.0, float(image[0]), float(image[1])


def _moved(boxes: Tensor, move: Callable[[int, np.ndarray], np.ndarray]) -> Tensor:
    """xyxy boxes with `move(axis, coordinates)` applied to each column."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes [k 4] as xyxy, got shape {list(boxes.shape)}")
    columns = boxes.detach().cpu().double().numpy().T
    if not np.isfinite(columns).all():
        row = int(np.flatnonzero(~np.isfinite(columns).all(0))[0])
        raise ValueError(f"box {row} has a coordinate that is not finite: {boxes[row].tolist()}")
    moved = [move(axis, column) for axis, column in zip((1, 0, 1, 0), columns, strict=True)]
    return torch.from_numpy(np.stack(moved, axis=1)).to(boxes.device, torch.float32)
