"""What encoding a folder costs beyond decoding its photos and the network's bare forward, each
measured alone in the same run.

    python bench/encode.py                          # lite, and a CLIP ViT-B/16 with random weights;
    with CUDA also L/14-336 in bfloat16 python bench/encode.py --images photos/ --threads 1 --rounds
    7

Each round times, in turn and over the same photos and batches (so that a busy machine slows all
alike):

    decode   `Picture.of` of every path
    resize   each picture laid on its canvas (`_canvas.canvases`): bytes, in memory
    forward  the network alone on tensors that are ready on its device
    whole    paths in, grids out, one after the other (decode, then `Regionizer.see`)
    ahead    the same with the next batch decoded and laid on its canvas by threads meanwhile, as
    `regiontok tokenize` does

Medians over rounds of milliseconds a photo. "adds" is whole - decode - forward as a share of decode
+ forward, "but res." the same with the resize, which any pipeline needs, on the other side. "busy"
is forward / ahead: 1 means that the device never waits. Without --images the photos are
scikit-image's, as JPEG files of at most 640 pixels. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import skimage.data
import torch
from PIL import Image

from regiontok.core.canvas import batches, canvases
from regiontok.core.picture import SUFFIXES, Picture
from regiontok.encoders.lite import Lite, _network
from regiontok.encoders.transformers import Transformers
from regiontok.system.prefetch import map_ahead
from regiontok.tokenizer.regionizer import Regionizer

# name -> (width, blocks, heads, canvas, patch, dtype)
TOWERS = {
    "CLIP ViT-B/16": (768, 12, 12, 224, 16, "float32"),
    "CLIP ViT-L/14-336": (1024, 24, 16, 336, 14, "bfloat16"),
}
STAGES = ("decode", "resize", "forward", "whole", "ahead")
PHOTOS = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "cat",
    "motorcycle_left",
    "hubble_deep_field",
    "immunohistochemistry",
)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=16, help="photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves them")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode ahead")
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time of the process: for a busy machine"
    )
    parser.add_argument("--only", choices=["lite", *TOWERS], action="append")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = args.only or [
        "lite",
        "CLIP ViT-B/16",
        *(["CLIP ViT-L/14-336"] if device == "cuda" else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = photos(Path(folder), args.images, args.count)
        rows = [
            measure(name, build(name, Path(folder), device, args.batch), paths, args)
            for name in names
        ]
    clock = "processor" if args.cpu_time else "wall"
    print(
        f"{len(paths)} photos, batches of {args.batch}, {args.rounds} rounds, {device}, {torch.get_num_threads()} threads"
    )
    print(
        f"{f'{clock} ms a photo':20s}"
        + "".join(f"{head:>9s}" for head in (*STAGES, "adds", "but res.", "busy"))
    )
    for row in rows:
        times = "".join(f"{row[stage]:9.2f}" for stage in STAGES)
        print(
            f"{row['encoder']:20s}{times}{row['adds']:9.1%}{row['adds_but_resize']:9.1%}{row['busy']:9.2f}"
        )
    machine = {
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": platform.processor(),
    }
    print(
        json.dumps(
            {
                "bench": "encode",
                "clock": clock,
                "photos": len(paths),
                "batch": args.batch,
                **machine,
                "rows": rows,
            }
        )
    )


def photos(folder: Path, images: Path | None, count: int) -> list[Path]:
    """Files to encode, `count` of them; the same ones again where there are fewer."""
    if images:
        found = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    else:
        found = []
        for name in PHOTOS:
            try:
                pixels = getattr(skimage.data, name)()
            except (OSError, ModuleNotFoundError, AttributeError):
                continue  # not all of them come with the package
            image = Image.fromarray(pixels).convert("RGB")
            image.thumbnail((640, 640))
            found.append(folder / f"{name}.jpg")
            image.save(found[-1], quality=90)
    if not found:
        raise SystemExit(f"no photos under {images}")
    return [found[at % len(found)] for at in range(count)]


def build(name: str, folder: Path, device: str, batch: int) -> Any:
    """The encoder; a tower gets random weights, written and loaded as a user's checkpoint is."""
    if name == "lite":
        return Lite(device=device, batch=batch if device == "cuda" else 1)
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

    width, blocks, heads, canvas, patch, dtype = TOWERS[name]
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        image_size=canvas,
        patch_size=patch,
    )
    torch.manual_seed(0)
    path = folder / name.replace("/", "-")
    CLIPVisionModel(config).save_pretrained(path)
    side = {"height": canvas, "width": canvas}
    CLIPImageProcessorPil(size={"shortest_edge": canvas}, crop_size=side).save_pretrained(path)
    return Transformers(str(path), dtype=dtype, device=device, batch=batch)


def measure(name: str, encoder: Any, paths: list[Path], args: argparse.Namespace) -> dict[str, Any]:
    """Medians of every stage, in turn, after one round that is not counted."""
    pictures = [Picture.of(path) for path in paths]
    regionizer = Regionizer(encoder)
    frames = [encoder.frame(picture.size) for picture in pictures]
    forward, ready = bare(encoder, pictures, frames)
    parts = list(batches(len(paths), args.batch))

    def whole() -> None:
        for part in parts:
            regionizer.see([Picture.of(path) for path in paths[part]])

    def ahead() -> None:
        def ready(path: Path) -> Picture:
            picture = Picture.of(path)
            encoder.prepare(picture)
            return picture

        decoded = map_ahead(ready, paths, workers=args.workers, most=args.batch)
        while batch := list(islice(decoded, args.batch)):
            regionizer.see(batch)

    stages: dict[str, Callable[[], Any]] = {
        "decode": lambda: [Picture.of(path) for path in paths],
        "resize": lambda: [
            canvases(pictures[part], frames[part], resample="bicubic") for part in parts
        ],
        "forward": lambda: [forward(values) for values in ready],
        "whole": whole,
        "ahead": ahead,
    }
    clock = time.process_time if args.cpu_time else time.perf_counter
    times: dict[str, list[float]] = {stage: [] for stage in stages}
    for turn in range(args.rounds + 1):
        for stage, run in stages.items():
            start = clock()
            with torch.no_grad():
                run()
            if encoder.device == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[stage].append(1000 * (clock() - start) / len(paths))
    ms = {stage: median(found) for stage, found in times.items()}
    base = ms["decode"] + ms["forward"]
    return {
        "encoder": name,
        **{stage: round(value, 3) for stage, value in ms.items()},
        "adds": round((ms["whole"] - base) / base, 4),
        "adds_but_resize": round((ms["whole"] - base - ms["resize"]) / (base + ms["resize"]), 4),
        "busy": round(ms["forward"] / ms["ahead"], 4),
    }


def bare(
    encoder: Any, pictures: list[Picture], frames: list[Any]
) -> tuple[Callable[[Any], Any], list[Any]]:
    """The network alone, and the very tensors it is fed, batch by batch."""
    parts = list(batches(len(pictures), encoder.batch))
    if isinstance(encoder, Lite):
        network = _network(encoder.device, True)

        def forward(values: torch.Tensor) -> torch.Tensor:
            hidden = network.bn1(network.conv_stem(values))
            for block in network.blocks[: encoder.stages[-1] + 1]:
                hidden = block(hidden)
            return hidden

        return forward, [encoder._input(pictures[part], frames[part]) for part in parts]
    dtype = getattr(torch, encoder.dtype)
    ready = [
        encoder._preprocess.values(canvases(pictures[part], frames[part]), encoder.device, dtype)
        for part in parts
    ]
    return lambda values: encoder._module(pixel_values=values), ready


if __name__ == "__main__":
    main()
