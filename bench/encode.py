"""What encoding a folder costs beyond decoding its photos and the network's bare forward.

    python bench/encode.py         # lite, and a CLIP ViT-B/16; with CUDA also L/14-336 in bfloat16
    python bench/encode.py --images photos/ --threads 1 --rounds 7

The towers have random weights. Each round times five stages in turn, over the same photos and
batches, so that a busy machine slows all alike:

    decode   `Picture.of` of every path
    resize   each picture laid on its canvas (`core.canvas.canvases`): bytes, in memory
    forward  the network alone on tensors that are ready on its device
    whole    paths in, grids out, one after the other (decode, then `Regionizer.see`)
    ahead    the same while threads decode the next batch and lay it on its canvas, as
             `regiontok tokenize` does

The table shows medians over rounds of milliseconds a photo. "adds" is whole - decode - forward as a
share of decode + forward, "but res." the same with the resize, which any pipeline needs, on the
other side. "busy" is forward / ahead: 1 means that the device never waits. Without --images the
photos are scikit-image's, as JPEG files of at most 640 pixels. The last line is JSON.
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
import timm
import torch
from PIL import Image

from regiontok.core.canvas import batches, canvases
from regiontok.core.picture import SUFFIXES, Picture
from regiontok.encoders.lite import EdgePadded, Lite
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
    names = args.only or ["lite", *list(TOWERS)[: 2 if device == "cuda" else 1]]
    with tempfile.TemporaryDirectory() as folder:
        paths = photos(Path(folder), args.images, args.count)
        rows = [
            measure(name, build(name, Path(folder), device, args.batch), paths, args)
            for name in names
        ]
    clock = "processor" if args.cpu_time else "wall"
    threads = torch.get_num_threads()
    print(f"{len(paths)} photos, batches of {args.batch}, {args.rounds} rounds, ", end="")
    print(f"{device}, {threads} threads")
    heads = "".join(f"{head:>9s}" for head in (*STAGES, "adds", "but res.", "busy"))
    print(f"{f'{clock} ms a photo':20s}{heads}")
    for row in rows:
        times = "".join(f"{row[stage]:9.2f}" for stage in STAGES)
        shares = f"{row['adds']:9.1%}{row['adds_but_resize']:9.1%}{row['busy']:9.2f}"
        print(f"{row['encoder']:20s}{times}{shares}")
    result = {"bench": "encode", "clock": clock, "photos": len(paths), "batch": args.batch}
    result |= {"device": device, "threads": threads, "torch": torch.__version__}
    print(json.dumps(result | {"cpu": platform.processor(), "rows": rows}))


def photos(folder: Path, images: Path | None, count: int) -> list[Path]:
    """The files to encode, `count` of them; the same ones again where there are fewer."""
    if images:
        paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    else:
        paths = []
        for name in PHOTOS:
            try:
                pixels = getattr(skimage.data, name)()
            except (OSError, ModuleNotFoundError, AttributeError):
                continue  # not all of them come with the package
            image = Image.fromarray(pixels).convert("RGB")
            image.thumbnail((640, 640))
            paths.append(folder / f"{name}.jpg")
            image.save(paths[-1], quality=90)
    if not paths:
        raise SystemExit(f"no photos under {images}")
    return [paths[index % len(paths)] for index in range(count)]


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
    """The median time of every stage; all run in turn, after a round that is not counted."""
    pictures = [Picture.of(path) for path in paths]
    regionizer = Regionizer(encoder)
    frames = [encoder.frame(picture.size) for picture in pictures]
    forward, ready = bare(encoder, pictures, frames)
    chunks = list(batches(len(paths), args.batch))

    def whole() -> None:
        for chunk in chunks:
            regionizer.see([Picture.of(path) for path in paths[chunk]])

    def ahead() -> None:
        def prepared(path: Path) -> Picture:
            picture = Picture.of(path)
            encoder.prepare(picture)
            return picture

        decoded = map_ahead(prepared, paths, workers=args.workers, most=args.batch)
        while batch := list(islice(decoded, args.batch)):
            regionizer.see(batch)

    stages: dict[str, Callable[[], Any]] = {
        "decode": lambda: [Picture.of(path) for path in paths],
        "resize": lambda: [
            canvases(pictures[chunk], frames[chunk], resample="bicubic") for chunk in chunks
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
    ms = {stage: median(durations) for stage, durations in times.items()}
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
    """The network alone, and tensors as it is fed, batch by batch."""
    chunks = list(batches(len(pictures), encoder.batch))
    pixels = [canvases(pictures[chunk], frames[chunk]) for chunk in chunks]
    if isinstance(encoder, Lite):
        return bare_lite(encoder), [
            (batch.to(encoder.device).float() - 127) / 128 for batch in pixels
        ]
    dtype = getattr(torch, encoder.dtype)
    values = [encoder._preprocess.values(batch, encoder.device, dtype) for batch in pixels]
    return lambda batch: encoder._module(pixel_values=batch), values


def bare_lite(encoder: Lite) -> Callable[[torch.Tensor], torch.Tensor]:
    """EfficientNet-Lite0 as `lite` runs it, with repeated borders, but with random weights."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
                setattr(parent, name, EdgePadded(module))
    network.to(encoder.device).eval()

    def forward(values: torch.Tensor) -> torch.Tensor:
        hidden = network.bn1(network.conv_stem(values))
        for block in network.blocks[: encoder.stages[-1] + 1]:
            hidden = block(hidden)
        return hidden

    return forward


if __name__ == "__main__":
    main()
