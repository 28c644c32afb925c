"""Small clips on disk: a bright square that moves over a dark ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (96, 128)  # height, width of a frame


def moving_square(count: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of a red square that moves over noise, and its boxes: x, y, width, height."""
    rng = np.random.default_rng(seed)
    start, step = rng.integers(10, 50, 2), rng.integers(-2, 3, 2)
    side = int(rng.integers(16, 28))
    ground = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    frames, boxes = [], []
    for number in range(count):
        x, y = (start + number * step).clip(0, (SIZE[1] - side, SIZE[0] - side)).tolist()
        frame = ground.copy()
        frame[y : y + side, x : x + side] = (220, 40, 30)
        frames.append(frame)
        boxes.append((x, y, side, side))
    return frames, np.array(boxes, float)


def write_frames(folder: Path, frames: list[np.ndarray], first: int = 1, digits: int = 8) -> None:
    """Frames as numbered JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=first):
        Image.fromarray(frame).save(folder / f"{number:0{digits}}.jpg", quality=95)


def write_boxes(path: Path, boxes: np.ndarray) -> None:
    """Lines of x,y,width,height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, box)) + "\n" for box in boxes), encoding="utf-8")


def write_got10k(root: Path, names: list[str], count: int = 4) -> Path:
    """A folder of clips in GOT-10k's layout, each with a moving square."""
    for seed, name in enumerate(names):
        frames, boxes = moving_square(count, seed)
        write_frames(root / name, frames)
        write_boxes(root / name / "groundtruth.txt", boxes)
    return root
