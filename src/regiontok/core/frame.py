"""Frame: from image pixels to crop, resized picture, canvas and patch grid, and back. The only file
where pixels meet patches.

After: diagnostic study, appendix E.1 (masks take the image's own resize, pad and crop; rows D4, O1
use this file).
Differs: masks meet patches by exact area overlap instead of resize-then-pool. That is the same up
to interpolation, faster, and nothing bleeds (a resized left-half mask reached columns 12-21 of 24
on small photos).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num

Pair = tuple[int, int]
Framing = Literal["stretch", "letterbox", "crop"]
Mapping = Literal["grid2d", "flat1d"]
CHUNK = 32  # masks decoded at once: 32 masks of 640x480 are 39 MB as float32


@dataclass(frozen=True)
class Frame:
    """How one image was laid under a patch grid. All pairs are (height, width), all coordinates (y,
    x).

    Attributes:
        image: size of the decoded image in pixels.
        crop: (y0, x0, y1, x1), the part of the image that is used, in image pixels (fractions
            allowed).
        resized: size of that part after resizing, in canvas pixels.
        offset: where its upper left corner lies on the canvas.
        canvas: size of the encoder's input; what the resized part does not cover is padding.
        patch: size of one patch in canvas pixels. Pixels right of and below the last whole patch
            are seen by no patch.

    >>> frame = Frame.letterbox((100, 200), canvas=(336, 336), patch=(14, 14))
    >>> frame.grid, frame.resized, int(frame.valid.sum())
    ((24, 24), (168, 336), 288)
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
                f"sizes must be at least one pixel: image {self.image}, resized {self.resized}, patch {self.patch}"
            )
        if min(self.grid) < 1:
            raise ValueError(f"the canvas {self.canvas} is smaller than one patch {self.patch}")

    @classmethod
    def stretch(cls, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The whole image, stretched to the canvas; the aspect ratio is lost."""
        return cls(
            image, (0.0, 0.0, float(image[0]), float(image[1])), canvas, (0, 0), canvas, patch
        )

    @classmethod
    def letterbox(cls, image: Pair, canvas: Pair, patch: Pair) -> Frame:
        """The whole image in its aspect ratio, centred, padded to the canvas (LLaVA-1.5's
        ``pad``)."""
        scale = min(canvas[0] / image[0], canvas[1] / image[1])
        high, wide = (max(1, round(side * scale)) for side in image)
        offset = ((canvas[0] - high) // 2, (canvas[1] - wide) // 2)
        return cls(
            image, (0.0, 0.0, float(image[0]), float(image[1])), (high, wide), offset, canvas, patch
        )

    @classmethod
    def center_crop(cls, image: Pair, canvas: Pair, patch: Pair, edge: int | None = None) -> Frame:
        """Shortest edge to `edge` (default: the canvas's longer side), then the canvas cut from the
        centre, as CLIP's processor does.

        The crop is taken in image coordinates before resizing: a 20,000 x 10 photo never becomes
        672,000 pixels long.

        Raises:
            ValueError: `edge` is smaller than the canvas, so that the crop would need padding.
        """
        edge = max(canvas) if edge is None else edge
        if edge < max(canvas):
            raise ValueError(f"shortest edge {edge} is smaller than the canvas {canvas}")
        short = min(image)
        full = tuple(edge if side == short else int(edge * side / short) for side in image)
        start = tuple((f - c) // 2 for f, c in zip(full, canvas, strict=True))
        scale = tuple(side / f for side, f in zip(image, full, strict=True))
        low = tuple(s * k for s, k in zip(start, scale, strict=True))
        high = tuple(
            min((s + c) * k, i) for s, c, k, i in zip(start, canvas, scale, image, strict=True)
        )
        return cls(image, (low[0], low[1], high[0], high[1]), canvas, (0, 0), canvas, patch)

    @classmethod
    def fit(
        cls, framing: Framing, image: Pair, canvas: Pair, patch: Pair, edge: int | None = None
    ) -> Frame:
        """The frame of one of the three framings, by name; `edge` goes to `center_crop`."""
        if framing == "crop":
            return cls.center_crop(image, canvas, patch, edge)
        if framing not in ("stretch", "letterbox"):
            raise ValueError(f"framing must be 'stretch', 'letterbox' or 'crop', not {framing!r}")
        return (cls.stretch if framing == "stretch" else cls.letterbox)(image, canvas, patch)

    @property
    def grid(self) -> Pair:
        """(h, w): whole patches on the canvas."""
        return self.canvas[0] // self.patch[0], self.canvas[1] // self.patch[1]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1) of the image, in its pixels, that patches see: 384 px at patch 14 is a
        27 x 27 grid over 378 px."""
        low, high = zip(
            *(
                self._to_image(axis, np.array([0.0, self.grid[axis] * self.patch[axis]]))
                for axis in (0, 1)
            ),
            strict=True,
        )
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @cached_property
    def valid(self) -> Bool[Tensor, "h w"]:
        """True where a patch sees at least one pixel of the image; False is padding only."""
        rows, cols = ((self._weights(axis).sum(1) > 0) for axis in (0, 1))
        return rows[:, None] & cols[None, :]

    @cached_property
    def content(self) -> Float[Tensor, "h w"]:
        """Share of each patch that is image and not padding."""
        rows, cols = (self._weights(axis).sum(1) for axis in (0, 1))
        return (rows[:, None] * cols[None, :]).float()

    def place(
        self, picture: Picture, *, resample: str = "bicubic", fill: tuple[int, int, int] = (0, 0, 0)
    ) -> np.ndarray:
        """The picture on the canvas: `[H W 3]` uint8, padding in the colour `fill`."""
        self._check_size(picture.size)
        part = picture.resized(self.resized, self.crop, resample)
        if self.resized == self.canvas:
            return part
        canvas = np.empty((*self.canvas, 3), np.uint8)
        canvas[:] = fill
        (y, x), (high, wide) = self.offset, self.resized
        canvas[y : y + high, x : x + wide] = part
        return canvas

    def to_grid(
        self, masks: PixelMasks | Num[Tensor, "k H W"], mapping: Mapping = "grid2d"
    ) -> Float[Tensor, "k h w"]:
        """Share of each patch's own area that each mask covers, by exact area overlap: `Wy @ mask @
        Wx.T`.

        `mapping="flat1d"` is OG-LLaVA's operator as published (section 5.1.1, row O1): the mask is
        flattened row by row and pooled in one dimension to h*w bins, so that "patch" i is the i-th
        run of the image's pixels, whatever the frame. The share is the run's.

        Raises:
            ValueError: masks of another size than the image.
        """
        if isinstance(masks, PixelMasks):
            self._check_size(masks.size)
            return self._runs_to_grid(masks) if mapping == "grid2d" else self._to_bins(masks)
        self._check_size(tuple(masks.shape[1:]))
        if mapping == "flat1d":
            bins = self.grid[0] * self.grid[1]
            return torch.nn.functional.adaptive_avg_pool1d(
                masks.float().flatten(1), bins
            ).unflatten(1, self.grid)
        # float64: in float32 half of all patches covered by exactly one half came out just below
        # 0.5 (O1's threshold), and autocast and
        # TF32 would round further
        rows, cols = (self._weights(axis).to(masks.device) for axis in (0, 1))
        return (rows @ masks.double() @ cols.T).float()

    def _runs_to_grid(self, masks: PixelMasks) -> Float[Tensor, "k h w"]:
        """The same from run-length codes, without a dense mask: 95 masks of 512 x 512 take 9 ms
        instead of 190 on one core.

        Read column by column, the area that patch (i, j) has seen before pixel (y, x) is
        `rows[i].sum() * before[j, x] + cols[j, x] * above[i, y]`, sums of weights; a run adds the
        difference of its two ends.
        """
        rows, cols = (self._weights(axis).numpy() for axis in (0, 1))
        above = np.c_[np.zeros(len(rows)), rows.cumsum(1)]
        before = np.c_[np.zeros(len(cols)), cols.cumsum(1)]
        cols = np.c_[
            cols, np.zeros(len(cols))
        ]  # the end of the last run lies in a column beyond the last
        share = np.empty((len(masks), *self.grid))
        for index in range(len(masks)):
            x, y = np.divmod(masks.runs(index).T.ravel(), self.image[0])
            sign = np.repeat([-1.0, 1.0], len(x) // 2)
            share[index] = (
                rows.sum(1)[:, None] * (before[:, x] @ sign) + (above[:, y] * sign) @ cols[:, x].T
            )
        share[share < 1e-9] = 0  # what the sums leave where nothing is
        return torch.from_numpy(share).float()

    def _to_bins(self, masks: PixelMasks) -> Float[Tensor, "k h w"]:
        chunks = [range(i, min(i + CHUNK, len(masks))) for i in range(0, len(masks), CHUNK)]
        parts = [self.to_grid(masks.dense(chunk), "flat1d") for chunk in chunks]
        return torch.cat(parts) if parts else torch.zeros(0, *self.grid)

    def pixels_per_patch(self, mapping: Mapping = "grid2d") -> float:
        """Image pixels in one patch (in one run of the flattened image): shares times this are
        pixel counts, O1's alpha."""
        if mapping == "flat1d":
            return self.image[0] * self.image[1] / (self.grid[0] * self.grid[1])
        return (self.patch[0] / self._scale(0)) * (self.patch[1] / self._scale(1))

    def to_pixels(
        self, values: Num[Tensor, "*rest h w"], fill: float | None = None
    ) -> Num[Tensor, "*rest H W"]:
        """Patch values on the image's pixels, each pixel taking the patch under its centre.

        Pixels that no patch sees get `fill`: by default -1 for integers, False for masks, NaN for
        floats.
        """
        if tuple(values.shape[-2:]) != self.grid:
            raise ValueError(
                f"expected values on the {self.grid} grid, got shape {list(values.shape)}"
            )
        if fill is None:
            fill = (
                False
                if values.dtype == torch.bool
                else float("nan")
                if values.is_floating_point()
                else -1
            )
        rows, cols = (self._patch_of(axis).to(values.device) for axis in (0, 1))
        spread = values[..., rows.clamp(min=0), :][..., cols.clamp(min=0)]
        seen = (rows >= 0)[:, None] & (cols >= 0)[None, :]
        return torch.where(
            seen, spread, torch.tensor(fill, dtype=values.dtype, device=values.device)
        )

    def boxes_to_grid(self, boxes: Num[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """xyxy boxes in image pixels -> xyxy in patches (column 0.5 is the middle of the first
        patch), cut to what is seen."""
        return self._boxes(
            boxes,
            lambda axis, at: np.clip(
                self._to_canvas(axis, at) / self.patch[axis], 0, self.grid[axis]
            ),
        )

    def boxes_to_pixels(self, boxes: Num[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """The other way: xyxy in patches -> xyxy in image pixels, cut to the crop."""
        return self._boxes(boxes, lambda axis, at: self._to_image(axis, at * self.patch[axis]))

    def _boxes(self, boxes: Tensor, move) -> Tensor:
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"expected boxes [k 4] as xyxy, got shape {list(boxes.shape)}")
        at = boxes.detach().cpu().double().numpy()
        moved = np.stack(
            [move(1, at[:, 0]), move(0, at[:, 1]), move(1, at[:, 2]), move(0, at[:, 3])], axis=1
        )
        return torch.from_numpy(moved).to(boxes.device, torch.float32)

    def _scale(self, axis: int) -> float:
        return self.resized[axis] / (self.crop[axis + 2] - self.crop[axis])

    def _to_canvas(self, axis: int, at: np.ndarray) -> np.ndarray:
        """Image coordinates -> canvas coordinates, cut to the resized part."""
        inside = np.clip(at, self.crop[axis], self.crop[axis + 2])
        return self.offset[axis] + (inside - self.crop[axis]) * self._scale(axis)

    def _to_image(self, axis: int, at: np.ndarray) -> np.ndarray:
        inside = np.clip(at - self.offset[axis], 0, self.resized[axis])
        return self.crop[axis] + inside / self._scale(axis)

    def _weights(self, axis: int) -> Tensor:
        """`[patches pixels]` float64: share of patch i's length that image pixel j covers."""
        edges = self._to_canvas(axis, np.arange(self.image[axis] + 1, dtype=np.float64))
        low = np.arange(self.grid[axis], dtype=np.float64)[:, None] * self.patch[axis]
        overlap = np.minimum(edges[1:], low + self.patch[axis]) - np.maximum(edges[:-1], low)
        overlap[overlap < 1e-9 * self.patch[axis]] = (
            0  # edges that agree but for rounding do not touch
        )
        return torch.from_numpy(overlap / self.patch[axis])

    def _patch_of(self, axis: int) -> Tensor:
        """`[pixels]`: the patch under each pixel's centre, -1 where none sees it."""
        centres = np.arange(self.image[axis]) + 0.5
        index = np.floor(self._to_canvas(axis, centres) / self.patch[axis]).astype(np.int64)
        seen = (
            (centres >= self.crop[axis])
            & (centres <= self.crop[axis + 2])
            & (index < self.grid[axis])
        )
        return torch.from_numpy(np.where(seen, index, -1))

    def _check_size(self, size: tuple[int, ...]) -> None:
        if tuple(size) != tuple(self.image):
            raise ValueError(
                f"expected masks and pixels of the image's size {self.image}, got {tuple(size)}"
            )
