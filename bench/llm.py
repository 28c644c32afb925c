"""What a language model saves with fewer visual tokens, and what making them costs.

    python bench/llm.py                                            # a small Llama on the CPU
    python bench/llm.py --device cuda --size 7b --dtype bfloat16   # the real shapes, on a GPU

The real shapes are those of Vicuna-7B and CLIP ViT-L/14-336. Weights are random: times and bytes do
not depend on them. Everything goes through `RegionVLM`, so splicing is part of it. A prompt is 60
text tokens and one image; an image is so many visual tokens (576: LLaVA's patches; the other
numbers: averages that the study reports). In each round all numbers of tokens run in turn, so that
a busy machine slows all alike; the table shows medians over rounds.

    prefill   splice, and the language model over text and image to the first token's logits
    decode    one further token against that cache
    KV        bytes of the cache that an image takes (by formula, held against the real cache)
    peak      memory over what was held before, in prefill and decoding (CUDA's allocator; on Linux
              the process's resident set)
    encoder   the vision network alone, on pixels that lie ready on the device
    +regions  the same and `merge(k=...) | sort('com')` on its features (nothing where all patches
              are kept); "alone": only the regions
    first     encoder, regions, pool and connector, prefill: an image to its first token
    stage 1   a training step of the connector through the frozen language model
    stage 2   a training step of language model (full or LoRA) and connector

A training step is forward, backward and AdamW; features are cached, so encoder and regions are not
in it. The last line is JSON. On a GPU the goals stand beside the figures.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import skimage.data
import torch
import transformers
from llm_parts import SIZES, TEXT, Prompt, VisionPath, build, cache_bytes, kv_bytes
from llm_tables import plot, save, table, verdict
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Data, Lora, Stage
from regiontok.train.parts import parameter_groups, set_trainable

Job = Callable[[], Any]
VISION_STAGES = ("encoder", "regions", "alone", "first")


def timed(jobs: dict[Any, Job], options: argparse.Namespace) -> dict[Any, float]:
    """The median milliseconds of each job; all run in turn, and the first round warms up."""
    clock, device = time.process_time if options.cpu_time else time.perf_counter, options.device
    taken: dict[Any, list[float]] = {name: [] for name in jobs}
    for turn in range(options.rounds + 1):
        for name, job in jobs.items():
            wait(device)
            start = clock()
            job()
            wait(device)
            if turn:
                taken[name].append(1000 * (clock() - start))
    return {name: median(durations) for name, durations in taken.items()}


def wait(device: str) -> None:
    """Wait until the GPU has done its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(job: Job, device: str) -> int | None:
    """The most bytes that a job takes beyond those held before; None if they cannot be counted."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        bytes_before = torch.cuda.memory_allocated()
        job()
        return torch.cuda.max_memory_allocated() - bytes_before
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        bytes_before = _resident("VmRSS")
        job()
        return _resident("VmHWM") - bytes_before
    except OSError:
        return None


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def inference(
    model: RegionVLM, options: argparse.Namespace, rows: dict[int, dict[str, Any]]
) -> None:
    """Measure prefill, decoding, memory and an image's way to its first token, into `rows`."""
    for batch in options.batches:
        for count, row in answering(model, options, batch).items():
            rows[count][f"batch_{batch}"] = row


def answering(
    model: RegionVLM, options: argparse.Namespace, batch: int
) -> dict[int, dict[str, Any]]:
    """The figures of `inference` for a batch of prompts: number of tokens -> name -> figure."""
    prompts = {count: Prompt(model, count, batch) for count in options.tokens}
    prefill_ms = timed({count: prompt.prefill for count, prompt in prompts.items()}, options)
    decode_ms = timed(
        {count: partial(prompt.decode, options.decode) for count, prompt in prompts.items()},
        options,
    )
    vision_ms = timed(vision_jobs(model, prompts, batch), options)
    item, config = torch.finfo(model.dtype).bits // 8, model.config.text_config
    rows = {}
    for count, prompt in prompts.items():
        whole = kv_bytes(config, count + TEXT, itemsize=item, batch=batch)
        if (real := cache_bytes(prompt.cache)) != whole:
            raise AssertionError(f"the cache holds {real} bytes, the formula says {whole}")
        prompt.cache = None
        row = {"prefill_ms": prefill_ms[count], "decode_ms": decode_ms[count] / options.decode}
        row |= {f"{stage}_ms": vision_ms[count, stage] for stage in VISION_STAGES}
        row["adds"] = vision_ms[count, "regions"] / vision_ms[count, "encoder"] - 1
        row["kv_bytes_image"] = kv_bytes(config, count, itemsize=item)
        row["peak_bytes"] = peak(partial(prefill_and_decode, prompt), options.device)
        prompt.cache = None
        rows[count] = row
    return rows


def vision_jobs(
    model: RegionVLM, prompts: dict[int, Prompt], batch: int
) -> dict[tuple[int, str], Job]:
    """The jobs of each number of tokens that begin with pictures, by `VISION_STAGES`."""
    photos = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    pictures = [Picture.of(photos[index % len(photos)]) for index in range(batch)]
    jobs: dict[tuple[int, str], Job] = {}
    for count, prompt in prompts.items():
        path = VisionPath(model, count, pictures)
        jobs[count, "encoder"] = path.encode
        jobs[count, "regions"] = path.regions
        jobs[count, "alone"] = path.regions_alone
        jobs[count, "first"] = lambda path=path, prompt=prompt: prompt.prefill(path.tokens())
    return jobs


def prefill_and_decode(prompt: Prompt) -> None:
    """Run a prompt up to its second new token."""
    prompt.prefill()
    prompt.decode(1)


def training(
    model: RegionVLM, options: argparse.Namespace, rows: dict[int, dict[str, Any]]
) -> None:
    """Measure a step of each stage, into `rows`; the model is not the same afterwards."""
    data = [Data(records="-")]
    lora = Lora(rank=128, alpha=256, dropout=0.0) if options.stage2 == "lora" else None
    stages = {
        "stage1": Stage(name="stage1", data=data, train=["connector"]),
        "stage2": Stage(name="stage2", data=data, train=["connector", "language_model"], lora=lora),
    }
    photo = [Picture.of(skimage.data.astronaut())] * options.train_batch
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    model.head.float()
    paths = {count: VisionPath(model, count, photo) for count in options.tokens}
    cached = {count: (path.grids, path.regions_alone()) for count, path in paths.items()}
    prompts = {count: Prompt(model, count, options.train_batch) for count in options.tokens}
    for name, stage in stages.items():
        set_trainable(model, stage).train()
        optimizer = torch.optim.AdamW(parameter_groups(model, stage))

        def step(count: int, optimizer: Any = optimizer) -> None:
            prompt = prompts[count]
            labels = prompt.ids.masked_fill(
                torch.arange(TEXT + 1, device=model.device) < TEXT // 2, -100
            )
            with torch.autocast(
                options.device.split(":")[0], torch.bfloat16, enabled=model.dtype == torch.bfloat16
            ):
                tokens = model.head(cast(cached[count][0], model.head_dtype), cached[count][1])
                loss: Tensor = model(
                    prompt.ids, pictures=tokens, labels=labels, use_cache=False
                ).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        step_ms = timed(
            {count: lambda count=count: step(count) for count in options.tokens}, options
        )
        for count in options.tokens:
            rows[count][f"{name}_ms"] = step_ms[count]


def cast(grids: Iterable[PatchGrid], dtype: torch.dtype) -> list[PatchGrid]:
    """The grids with their pooled features in the connector's type."""
    return [grid.but(features=grid.features, values=grid.pooled.to(dtype)) for grid in grids]


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=[*SIZES])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--tokens", type=int, nargs="+", default=[576, 334, 257, 124, 101])
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 4, on a GPU 1 16")
    parser.add_argument(
        "--train-batch", type=int, help="default: 2, on a GPU 16; 0 leaves training out"
    )
    parser.add_argument("--stage2", choices=["full", "lora"], help="default: lora at 7b, else full")
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        help="of gradients; default: at 7b",
    )
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many")
    parser.add_argument("--decode", type=int, default=8, help="tokens a round")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="processor time of the process: for a busy machine, one thread",
    )
    parser.add_argument("--plot", type=Path, help="where the plot goes")
    options = parser.parse_args()
    cuda = options.device.startswith("cuda")
    options.size = options.size or ("7b" if cuda else "small")
    options.batches = options.batches or ([1, 16] if cuda else [1, 4])
    options.train_batch = (
        (16 if cuda else 2) if options.train_batch is None else options.train_batch
    )
    options.stage2 = options.stage2 or ("lora" if options.size == "7b" else "full")
    options.checkpointing = (
        options.size == "7b" if options.checkpointing is None else options.checkpointing
    )
    rows: dict[int, dict[str, Any]] = {count: {} for count in sorted(options.tokens, reverse=True)}
    with tempfile.TemporaryDirectory() as folder:
        model = build(options.size, options.device, getattr(torch, options.dtype), Path(folder))
        inference(model, options, rows)
        if options.train_batch:
            training(model, options, rows)
    device = torch.cuda.get_device_name() if cuda else f"CPU, threads: {torch.get_num_threads()}"
    title = f"{options.size} Llama of random weights, {options.dtype}, {device}; {TEXT} text tokens"
    clock = "milliseconds of processor time" if options.cpu_time else "milliseconds"
    print(f"{title}; {clock}, medians of {options.rounds} rounds (decode: a token)\n")
    print(table(rows, options.batches), end="\n\n")
    for batch in options.batches:
        figures = {count: row[f"batch_{batch}"] for count, row in rows.items()}
        adds = ", ".join(
            f"{count} tokens {figure['regions_ms']:.4g} ms against {figure['encoder_ms']:.4g} "
            f"({figure['adds']:+.1%}; alone {figure['alone_ms']:.3g})"
            for count, figure in figures.items()
        )
        print(f"encoder and regions against encoder, batch {batch}: {adds}")
    if cuda:
        print("\n".join(verdict(rows, options.batches[-1])))
    if options.plot:
        save(options.plot, plot(rows, options.batches, title))
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "gpu": device if cuda else None,
    }
    settings = {name: value for name, value in vars(options).items() if name != "plot"}
    print(json.dumps({"bench": "llm", **settings, "rows": rows, **machine, **versions}))


if __name__ == "__main__":
    main()
