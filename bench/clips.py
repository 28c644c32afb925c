"""Regions over time: tokens of a clip against tokens of its frames one by one, and how well regions
keep to the annotated object.

    python bench/clips.py --data FOLDER

The clips are the first 20 frames of four DAVIS 2016 videos with the object's masks (docs/about/data.md).
Of each setting:

tokens      of the clip, and of its frames done one by one, summed.
explained   share of the variance of the patch features (those of the clip, standardised over it)
that the regions' means keep. object      IoU over all frames, at pixel resolution, of the object
            with the union of the regions of which more than half of the patches' area is object:
            the best that a reader of whole regions could do.
best        the same of the best single region. Of a clip it is one space-time region. Frame by
            frame it is a chain: the best region of the first frame, then on each frame the one that
            overlaps most (IoU) with the last of the chain: identity by matching.
oracle      the chain with the best region of every frame, chosen by the truth: identity given away.
ms          a frame: encode, and regions with pooling; one thread, decoded frames in memory, the
median of the runs.

"t" rows share the encoder's threshold; in "e" rows the clip has as few tokens as explain what its
frames explain under that threshold; "k" rows share one total number of tokens.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from bsds import data_root
from PIL import Image

from regiontok.core.clip import Clip, frame_files
from regiontok.settings.registry import build
from regiontok.tokenizer.region_tokenizer import RegionTokenizer, Run


@dataclass(frozen=True)
class Row:
    """One clip under one setting, one way."""

    way: str
    tokens: int
    explained: float
    object: float
    best: float
    oracle: float
    encode_ms: float
    regions_ms: float


def clips(root: Path) -> list[tuple[Clip, np.ndarray]]:
    """(clip, its object's masks `[T H W]`) of every video. Raises `FileNotFoundError` where there
    is none."""
    folder = root / "davis2016"
    found = []
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
        found.append((clip, np.stack(masks[: len(clip)])))
    if not found:
        raise FileNotFoundError(f"no videos in {folder}")
    return found


def labels_of(run: Run) -> torch.Tensor:
    """`[t h w]`: region ids of a clip, or of its frames one by one with ids that go on counting."""
    if len(run.regions) == 1 and len(run.regions[0].grid) == 3:
        return run.regions[0].labels
    starts = np.cumsum([0, *(len(regions) for regions in run.regions)])
    return torch.stack(
        [regions.labels + int(start) for regions, start in zip(run.regions, starts, strict=False)]
    )


def explained(labels: torch.Tensor, features: torch.Tensor) -> float:
    """1 - (variance within regions) / (variance)."""
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
        """Of `[t n]` patches with the object, in pixels over all frames."""
        both = (self.inside * chosen).sum()
        return float(both / (self.pixels.sum() + (self.area * chosen).sum() - both))

    def object(self, labels: np.ndarray) -> float:
        """Of the union of all regions that lie more than half within the object."""
        within = np.bincount(labels.ravel(), self.inside.ravel())
        area = np.bincount(labels.ravel(), np.broadcast_to(self.area, labels.shape).ravel())
        return self.iou((within > area / 2)[labels])

    def per_region(self, labels: np.ndarray, frames: slice) -> np.ndarray:
        """IoU of each region with the object on some frames."""
        own = labels[frames]
        count = int(labels.max()) + 1
        within = np.bincount(own.ravel(), self.inside[frames].ravel(), minlength=count)
        area = np.bincount(
            own.ravel(), np.broadcast_to(self.area, own.shape).ravel(), minlength=count
        )
        return within / np.maximum(area + self.pixels[frames].sum() - within, 1)

    def chain(self, labels: np.ndarray, known: bool) -> float:
        """Of one region a frame: by overlap with the one before, or (`known`) the best by the
        truth."""
        chosen = np.zeros(labels.shape, bool)
        for at, own in enumerate(labels):
            if at == 0 or known:
                region = self.per_region(labels, slice(at, at + 1)).argmax()
            else:
                before = chosen[at - 1]
                both = np.bincount(own, self.area * before)
                area = np.bincount(own, self.area)
                region = (both / np.maximum(area + (self.area * before).sum() - both, 1)).argmax()
            chosen[at] = own == region
        return self.iou(chosen)


class Seen:
    """One clip through one encoder, as a clip and frame by frame: encoded `runs` times in turn, so
    that a busy machine slows both."""

    def __init__(self, clip: Clip, masks: np.ndarray, encoder, runs: int) -> None:
        self.sources = {"clip": clip, "frames": list(clip.frames)}
        self.encoder, self.runs, self.name = encoder, runs, Path(clip.name).name
        patches = RegionTokenizer(encoder, "")
        found = [
            {way: patches.run(source) for way, source in self.sources.items()} for _ in range(runs)
        ]
        self.encode_ms = {
            way: median(1e3 * run[way].seconds["encode"] for run in found) / len(clip)
            for way in self.sources
        }
        self.grids = {way: found[0][way].grids for way in self.sources}
        self.features = self.grids["clip"][0].features
        self.truth = Truth(masks, self.grids["clip"][0].frame)

    def run(self, way: str, spec: str) -> Run:
        """The regions of a spec, from the grids that are there."""
        return RegionTokenizer(self.encoder, spec).run(self.sources[way], grids=self.grids[way])

    def fewest(self, spec: str) -> int:
        """Tokens of the clip that explain as much as those of its frames under `spec`, by
        bisection."""
        wanted = explained(labels_of(self.run("frames", spec)), self.features)
        low, high = 1, self.features.shape[:-1].numel()
        while low < high:
            k = (low + high) // 2
            enough = (
                explained(labels_of(self.run("clip", f"merge(k={k})")), self.features) >= wanted
            )
            low, high = (low, k) if enough else (k + 1, high)
        return low

    def rows(self, specs: dict[str, str]) -> list[Row]:
        """One row a way."""
        runs = [{way: self.run(way, spec) for way, spec in specs.items()} for _ in range(self.runs)]
        return [self._row(way, [run[way] for run in runs]) for way in specs]

    def _row(self, way: str, runs: list[Run]) -> Row:
        labels = labels_of(runs[0])
        flat, truth = labels.flatten(1).numpy(), self.truth
        if way == "clip":
            best = oracle = float(truth.per_region(flat, slice(None)).max())
        else:
            best, oracle = truth.chain(flat, known=False), truth.chain(flat, known=True)
        rest = median(1e3 * (run.seconds["regions"] + run.seconds["pool"]) for run in runs) / len(
            flat
        )
        shares = explained(labels, self.features), truth.object(flat), best, oracle
        return Row(way, len(runs[0].tokens), *shares, self.encode_ms[way], rest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of real data (default: $REGIONTOK_DATA)")
    parser.add_argument("--encoders", nargs="+", default=["lite", "filters"])
    parser.add_argument(
        "--a-frame",
        nargs="+",
        type=int,
        default=[4, 8, 16, 32],
        help="tokens a frame of the k rows",
    )
    parser.add_argument("--runs", type=int, default=3)
    words = parser.parse_args()
    torch.set_num_threads(1)
    found = clips(data_root(words.data))
    total = []
    for name in words.encoders:
        encoder = build("encoder", name)
        RegionTokenizer(encoder, "merge(0.5)").run(
            Clip.of(found[0][0].frames[:2])
        )  # loads and compiles
        seen = [Seen(clip, masks, encoder, words.runs) for clip, masks in found]
        own = f"merge({encoder.threshold})"
        print(
            f"\n{name}\n{'setting':>10} {'clip':>10} {'way':>7} {'tokens':>7} explained object  best oracle  encode regions ms"
        )
        for title in [
            f"t {encoder.threshold}",
            "e",
            *(f"k {each}/frame" for each in words.a_frame),
        ]:
            rows: dict[str, list[Row]] = {"clip": [], "frames": []}
            for one in seen:
                budget = int(title[2:].split("/")[0]) if title.startswith("k") else 0
                frames = f"merge(k={budget})" if budget else own
                clip = f"merge(k={budget * len(one.sources['frames'])})" if budget else own
                clip = f"merge(k={one.fewest(own)})" if title == "e" else clip
                for row in one.rows({"clip": clip, "frames": frames}):
                    rows[row.way].append(row)
                    show(title, one.name, row)
            for way, several in rows.items():
                numbers = {
                    f: mean(getattr(row, f) for row in several)
                    for f in Row.__annotations__
                    if f != "way"
                }
                summed = Row(way, **numbers)
                show(title, "mean", summed)
                total.append(
                    {"encoder": name, "setting": title, "way": way}
                    | {k: round(v, 4) for k, v in numbers.items()}
                )
    print(
        json.dumps(
            {
                "bench": "clips",
                "clips": len(found),
                "frames": sum(len(clip) for clip, _ in found),
                "rows": total,
            }
        )
    )


def show(setting: str, clip: str, row: Row) -> None:
    shares = f"{row.explained:9.3f} {row.object:6.3f} {row.best:5.3f} {row.oracle:6.3f}"
    print(
        f"{setting:>10} {clip:>10} {row.way:>7} {row.tokens:7.0f} {shares} {row.encode_ms:7.1f} {row.regions_ms:7.2f}"
    )


if __name__ == "__main__":
    main()
