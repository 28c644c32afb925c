"""Regions over time: how a clip's tokens compare with those of its frames taken one by one.

    python bench/clips.py --data FOLDER

The clips are the first 20 frames of four DAVIS 2016 videos with the object's masks
(docs/about/data.md). The columns of each setting:

    tokens     of the clip, and of its frames done one by one, summed
    explained  share of the variance of the patch features (those of the clip, standardised over it)
               that the regions' means keep
    object     IoU over all frames, at pixel resolution, of the object with the union of the regions
               of which more than half of the patches' area is object: the best that a reader of
               whole regions could do
    best       the same of the best single region. Of a clip it is one space-time region. Frame by
               frame it is a chain: the best region of the first frame, then on each frame the one
               that overlaps most (IoU) with the last of the chain: identity by matching
    oracle     the chain with the best region of every frame, chosen by the truth: identity given
               away
    ms         milliseconds a frame: for encoding, and for regions with pooling; one thread, decoded
               frames in memory, the median of the runs

"t" rows share the encoder's threshold; in "e" rows the clip has as few tokens as explain what its
frames explain under that threshold; "k" rows share one total number of tokens. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from bsds import data_root
from PIL import Image

from regiontok.core.clip import Clip, frame_files
from regiontok.settings.registry import build
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.run import Run


@dataclass(frozen=True)
class Row:
    """A line of the table: one clip under one setting, as a clip or frame by frame."""

    way: str
    tokens: int
    explained: float
    object: float
    best: float
    oracle: float
    encode_ms: float
    regions_ms: float


def clips(root: Path) -> list[tuple[Clip, np.ndarray]]:
    """Every video as a clip, with its object's masks `[T H W]`.

    Raises:
        FileNotFoundError: If there is no video, or one has frames without a mask.
    """
    folder = root / "davis2016"
    clips_with_masks = []
    for video in sorted((folder / "JPEGImages" / "480p").glob("*")):
        masks = [
            np.asarray(Image.open(path).convert("L")) > 0
            for path in frame_files(folder / "Annotations" / "480p" / video.name)
        ]
        clip = Clip.of(video, fps=24)
        if len(masks) < len(clip):
            raise FileNotFoundError(
                f"{folder}: {video.name} has {len(clip)} frames and {len(masks)} masks"
            )
        clips_with_masks.append((clip, np.stack(masks[: len(clip)])))
    if not clips_with_masks:
        raise FileNotFoundError(f"no videos in {folder}")
    return clips_with_masks


def labels_of(run: Run) -> torch.Tensor:
    """The region id of each patch `[t h w]`; ids go on counting over frames done one by one."""
    if len(run.regions) == 1 and len(run.regions[0].grid) == 3:
        return run.regions[0].labels
    starts = np.cumsum([0, *(len(regions) for regions in run.regions)])
    return torch.stack(
        [regions.labels + int(start) for regions, start in zip(run.regions, starts, strict=False)]
    )


def explained(labels: torch.Tensor, features: torch.Tensor) -> float:
    """The share of variance that regions explain: 1 - (variance within regions) / (variance)."""
    flat, region = features.flatten(0, -2).double(), labels.flatten()
    sums = torch.zeros(int(region.max()) + 1, flat.shape[1], dtype=torch.float64).index_add(
        0, region, flat
    )
    means = sums / torch.bincount(region)[:, None]
    return 1 - float((flat - means[region]).square().sum() / (flat - flat.mean(0)).square().sum())


class Truth:
    """The object on the patch grid and at pixel resolution."""

    def __init__(self, masks: np.ndarray, frame) -> None:
        self.pixels, self.frame = masks, frame
        patch = frame.to_pixels(
            torch.arange(frame.grid[0] * frame.grid[1]).view(frame.grid)
        ).numpy()
        self.patch = patch.ravel()
        count = frame.grid[0] * frame.grid[1]
        self.area = np.bincount(self.patch, minlength=count).astype(float)
        self.inside = np.stack(
            [np.bincount(self.patch, mask.ravel(), minlength=count) for mask in masks]
        )

    def iou(self, chosen: np.ndarray) -> float:
        """The IoU of chosen patches `[t n]` with the object, in pixels over all frames."""
        intersection = (self.inside * chosen).sum()
        return float(intersection / (self.pixels.sum() + (self.area * chosen).sum() - intersection))

    def object(self, labels: np.ndarray) -> float:
        """The IoU of the union of all regions that lie more than half within the object."""
        within = np.bincount(labels.ravel(), self.inside.ravel())
        area = np.bincount(labels.ravel(), np.broadcast_to(self.area, labels.shape).ravel())
        return self.iou((within > area / 2)[labels])

    def per_region(self, labels: np.ndarray, frames: slice) -> np.ndarray:
        """The IoU of each region with the object on some frames."""
        frame_labels = labels[frames]
        count = int(labels.max()) + 1
        within = np.bincount(frame_labels.ravel(), self.inside[frames].ravel(), minlength=count)
        area = np.bincount(
            frame_labels.ravel(),
            np.broadcast_to(self.area, frame_labels.shape).ravel(),
            minlength=count,
        )
        return within / np.maximum(area + self.pixels[frames].sum() - within, 1)

    def chain(self, labels: np.ndarray, known: bool) -> float:
        """The IoU of a chain of regions, one a frame.

        A frame's region is the one that overlaps the last frame's region most or, if `known`, the
        best by the truth.
        """
        chosen = np.zeros(labels.shape, bool)
        for index, frame_labels in enumerate(labels):
            if index == 0 or known:
                region = self.per_region(labels, slice(index, index + 1)).argmax()
            else:
                previous = chosen[index - 1]
                overlap = np.bincount(frame_labels, self.area * previous)
                area = np.bincount(frame_labels, self.area)
                region = (
                    overlap / np.maximum(area + (self.area * previous).sum() - overlap, 1)
                ).argmax()
            chosen[index] = frame_labels == region
        return self.iou(chosen)


class EncodedClip:
    """A clip through an encoder, as a clip and frame by frame.

    The two ways are encoded `runs` times in turn, so that a busy machine slows both.
    """

    def __init__(self, clip: Clip, masks: np.ndarray, encoder, runs: int) -> None:
        self.sources = {"clip": clip, "frames": list(clip.frames)}
        self.encoder, self.runs, self.name = encoder, runs, Path(clip.name).name
        patches = RegionTokenizer(encoder, "")
        runs_by_way = [
            {way: patches.run(source) for way, source in self.sources.items()} for _ in range(runs)
        ]
        self.encode_ms = {
            way: median(1e3 * run[way].seconds["encode"] for run in runs_by_way) / len(clip)
            for way in self.sources
        }
        self.grids = {way: runs_by_way[0][way].grids for way in self.sources}
        self.features = self.grids["clip"][0].features
        self.truth = Truth(masks, self.grids["clip"][0].frame)

    def run(self, way: str, spec: str) -> Run:
        """The regions of a spec, made from the grids that were encoded before."""
        return RegionTokenizer(self.encoder, spec).run(self.sources[way], grids=self.grids[way])

    def fewest(self, spec: str) -> int:
        """The fewest tokens of the clip that explain as much as its frames' under `spec`."""
        wanted = explained(labels_of(self.run("frames", spec)), self.features)
        lower, upper = 1, self.features.shape[:-1].numel()  # bisection
        while lower < upper:
            k = (lower + upper) // 2
            enough = (
                explained(labels_of(self.run("clip", f"merge(k={k})")), self.features) >= wanted
            )
            lower, upper = (lower, k) if enough else (k + 1, upper)
        return lower

    def rows(self, specs: dict[str, str]) -> list[Row]:
        """A row for each way."""
        runs = [{way: self.run(way, spec) for way, spec in specs.items()} for _ in range(self.runs)]
        return [self._row(way, [run[way] for run in runs]) for way in specs]

    def _row(self, way: str, runs: list[Run]) -> Row:
        labels = labels_of(runs[0])
        flat, truth = labels.flatten(1).numpy(), self.truth
        if way == "clip":
            best = oracle = float(truth.per_region(flat, slice(None)).max())
        else:
            best, oracle = truth.chain(flat, known=False), truth.chain(flat, known=True)
        regions_ms = median(
            1e3 * (run.seconds["regions"] + run.seconds["pool"]) for run in runs
        ) / len(flat)
        shares = explained(labels, self.features), truth.object(flat), best, oracle
        return Row(way, len(runs[0].tokens), *shares, self.encode_ms[way], regions_ms)


def settings(
    encoded: EncodedClip, threshold: float, budgets: list[int]
) -> dict[str, dict[str, str]]:
    """The settings of the table for a clip: title -> way -> spec."""
    spec = f"merge({threshold})"
    table = {
        f"t {threshold}": {"clip": spec, "frames": spec},
        "e": {"clip": f"merge(k={encoded.fewest(spec)})", "frames": spec},
    }
    for k in budgets:
        whole = f"merge(k={k * len(encoded.sources['frames'])})"
        table[f"k {k}/frame"] = {"clip": whole, "frames": f"merge(k={k})"}
    return table


def measure(name: str, annotated: list[tuple[Clip, np.ndarray]], options: Any) -> list[dict]:
    """Print the table of an encoder; the means over clips are returned."""
    encoder = build("encoder", name)
    # the first run loads and compiles
    RegionTokenizer(encoder, "merge(0.5)").run(Clip.of(annotated[0][0].frames[:2]))
    encoded_clips = [EncodedClip(clip, masks, encoder, options.runs) for clip, masks in annotated]
    specs = [settings(clip, encoder.threshold, options.a_frame) for clip in encoded_clips]
    print(f"\n{name}\n   setting       clip     way  tokens explained object  best oracle", end="")
    print("  encode regions ms")
    means = []
    for title in specs[0]:
        rows: dict[str, list[Row]] = {"clip": [], "frames": []}
        for encoded, specs_by_title in zip(encoded_clips, specs, strict=True):
            for row in encoded.rows(specs_by_title[title]):
                rows[row.way].append(row)
                show(title, encoded.name, row)
        for way, rows_of_way in rows.items():
            fields = [field for field in Row.__annotations__ if field != "way"]
            numbers = {field: mean(getattr(row, field) for row in rows_of_way) for field in fields}
            show(title, "mean", Row(way, **numbers))
            rounded = {field: round(value, 4) for field, value in numbers.items()}
            means.append({"encoder": name, "setting": title, "way": way} | rounded)
    return means


def show(setting: str, clip: str, row: Row) -> None:
    """Print a line of the table."""
    shares = f"{row.explained:9.3f} {row.object:6.3f} {row.best:5.3f} {row.oracle:6.3f}"
    head = f"{setting:>10} {clip:>10} {row.way:>7} {row.tokens:7.0f}"
    print(f"{head} {shares} {row.encode_ms:7.1f} {row.regions_ms:7.2f}")


def main() -> None:
    """Measure, print a table an encoder and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of real data (default: $REGIONTOK_DATA)")
    parser.add_argument("--encoders", nargs="+", default=["lite", "filters"])
    budgets = {"type": int, "nargs": "+", "default": [4, 8, 16, 32]}
    parser.add_argument("--a-frame", help="tokens a frame of the k rows", **budgets)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    annotated = clips(data_root(options.data))
    rows = [row for name in options.encoders for row in measure(name, annotated, options)]
    frames = sum(len(clip) for clip, _ in annotated)
    print(json.dumps({"bench": "clips", "clips": len(annotated), "frames": frames, "rows": rows}))


if __name__ == "__main__":
    main()
