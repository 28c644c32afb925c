"""What a language model saves with fewer visual tokens: prefill, decoding, memory, training steps;
and what making them costs.

    python bench/llm.py                                                # a small Llama on the CPU
    python bench/llm.py --device cuda --size 7b --dtype bfloat16       # Vicuna-7B's and CLIP
    ViT-L/14-336's shapes on a GPU

Weights are random: times and bytes do not depend on them. Everything goes through `RegionVLM`, so
splicing is part of it. A prompt is 60 text tokens and one image; an image is so many visual tokens
(576: LLaVA's patches; the others: averages the study reports). Per round all numbers of tokens run
in turn, so that a busy machine slows all alike; what is shown are medians over rounds.

    prefill   splice, and the language model over text and image to the first token's logits
    decode    one further token against that cache
    KV        bytes of the cache that an image takes (by formula, held against the real cache in the
    run) peak      memory over what stood before, in prefill and decoding (CUDA's allocator; on
    Linux the process's resident set) encoder   the vision network alone, on pixels that lie ready
    on the device +regions  the same and `merge(k=...) | sort('com')` on its features (nothing where
    all patches are kept); "alone": only that first     encoder, regions, pool and connector,
    prefill: an image to its first token stage 1   a training step of the connector through the
              frozen language model; stage 2: language model (full or LoRA) and connector; forward,
              backward, AdamW; features are cached, so encoder and regions are not in it

The last line is JSON. On a GPU the goals stand beside what was found.
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
from pathlib import Path
from statistics import median
from typing import Any

import skimage.data
import torch
import transformers
from llm_parts import SIZES, TEXT, Eye, Prompt, build, cache_bytes, kv_bytes
from llm_tables import plot, save, table, verdict
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import Data, Lora, Stage
from regiontok.train.build import choose, groups

Job = Callable[[], Any]


def timed(jobs: dict[Any, Job], given: argparse.Namespace) -> dict[Any, float]:
    """Median milliseconds of each job, all of them run in turn; the first round warms up."""
    clock, device = time.process_time if given.cpu_time else time.perf_counter, given.device
    taken: dict[Any, list[float]] = {name: [] for name in jobs}
    for turn in range(given.rounds + 1):
        for name, job in jobs.items():
            wait(device)
            start = clock()
            job()
            wait(device)
            if turn:
                taken[name].append(1000 * (clock() - start))
    return {name: median(found) for name, found in taken.items()}


def wait(device: str) -> None:
    """Until the GPU has done its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(job: Job, device: str) -> int | None:
    """Bytes over what stood before, while the job ran; None where nobody counts them."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        job()
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = _resident("VmRSS")
        job()
        return _resident("VmHWM") - before
    except OSError:
        return None


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def inference(model: RegionVLM, given: argparse.Namespace, rows: dict[int, dict[str, Any]]) -> None:
    """Prefill, decoding, memory and an image's way to its first token, into `rows`."""
    photos = [
        Picture.of(pixels)
        for pixels in (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    ]
    item = torch.finfo(model.dtype).bits // 8
    for batch in given.batches:
        prompts = {count: Prompt(model, count, batch) for count in given.tokens}
        prefill = timed({count: one.prefill for count, one in prompts.items()}, given)
        jobs = {count: lambda one=one: one.decode(given.decode) for count, one in prompts.items()}
        decode = timed(jobs, given)
        pictures = [photos[at % len(photos)] for at in range(batch)]
        eyes = {count: Eye(model, count, pictures) for count in given.tokens}
        looks: dict[Any, Job] = {}
        for count, eye in eyes.items():
            looks[count, "encoder"], looks[count, "regions"], looks[count, "alone"] = (
                eye.encode,
                eye.regions,
                eye.alone,
            )
            looks[count, "first"] = lambda eye=eye, one=prompts[count]: one.prefill(eye.tokens())
        look = timed(looks, given)
        for count, one in prompts.items():
            whole = kv_bytes(model.config.text_config, count + TEXT, itemsize=item, batch=batch)
            if (real := cache_bytes(one.cache)) != whole:
                raise AssertionError(f"the cache holds {real} bytes, the formula says {whole}")
            one.cache = None
            made = {"prefill_ms": prefill[count], "decode_ms": decode[count] / given.decode}
            made |= {
                f"{name}_ms": look[count, name] for name in ("encoder", "regions", "alone", "first")
            }
            rows[count][f"batch_{batch}"] = made | {
                "adds": look[count, "regions"] / look[count, "encoder"] - 1,
                "kv_bytes_image": kv_bytes(model.config.text_config, count, itemsize=item),
                "peak_bytes": peak(lambda one=one: (one.prefill(), one.decode(1)), given.device),
            }
            one.cache = None


def training(model: RegionVLM, given: argparse.Namespace, rows: dict[int, dict[str, Any]]) -> None:
    """A step of each stage, into `rows`. The model is not the same afterwards."""
    data = [Data(records="-")]
    lora = Lora(rank=128, alpha=256, dropout=0.0) if given.stage2 == "lora" else None
    stages = {
        "stage1": Stage(name="stage1", data=data, train=["connector"]),
        "stage2": Stage(name="stage2", data=data, train=["connector", "language_model"], lora=lora),
    }
    photo = [Picture.of(skimage.data.astronaut())] * given.train_batch
    if given.checkpointing:
        model.gradient_checkpointing_enable()
    model.head.float()
    held = {
        count: (eye.grids, eye.alone())
        for count in given.tokens
        for eye in [Eye(model, count, photo)]
    }
    prompts = {count: Prompt(model, count, given.train_batch) for count in given.tokens}
    for name, stage in stages.items():
        choose(model, stage).train()
        optimizer = torch.optim.AdamW(groups(model, stage))

        def step(count: int, optimizer: Any = optimizer) -> None:
            prompt = prompts[count]
            labels = prompt.ids.masked_fill(
                torch.arange(TEXT + 1, device=model.device) < TEXT // 2, -100
            )
            with torch.autocast(
                given.device.split(":")[0], torch.bfloat16, enabled=model.dtype == torch.bfloat16
            ):
                tokens = model.head(cast(held[count][0], model.head_dtype), held[count][1])
                loss: Tensor = model(
                    prompt.ids, pictures=tokens, labels=labels, use_cache=False
                ).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        found = timed({count: lambda count=count: step(count) for count in given.tokens}, given)
        for count in given.tokens:
            rows[count][f"{name}_ms"] = found[count]


def cast(grids: Iterable[PatchGrid], dtype: torch.dtype) -> list[PatchGrid]:
    """What is pooled, in the connector's type."""
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
    given = parser.parse_args()
    cuda = given.device.startswith("cuda")
    given.size = given.size or ("7b" if cuda else "small")
    given.batches = given.batches or ([1, 16] if cuda else [1, 4])
    given.train_batch = (16 if cuda else 2) if given.train_batch is None else given.train_batch
    given.stage2 = given.stage2 or ("lora" if given.size == "7b" else "full")
    given.checkpointing = given.size == "7b" if given.checkpointing is None else given.checkpointing
    rows: dict[int, dict[str, Any]] = {count: {} for count in sorted(given.tokens, reverse=True)}
    with tempfile.TemporaryDirectory() as folder:
        model = build(given.size, given.device, getattr(torch, given.dtype), Path(folder))
        inference(model, given, rows)
        if given.train_batch:
            training(model, given, rows)
    device = torch.cuda.get_device_name() if cuda else f"CPU, threads: {torch.get_num_threads()}"
    title = f"{given.size} Llama of random weights, {given.dtype}, {device}; {TEXT} text tokens"
    clock = "milliseconds of processor time" if given.cpu_time else "milliseconds"
    print(
        title
        + f"; {clock}, medians of {given.rounds} rounds (decode: a token)\n\n{table(rows, given.batches)}\n"
    )
    for batch in given.batches:
        adds = ", ".join(
            f"{count} tokens {own['regions_ms']:.4g} ms against {own['encoder_ms']:.4g} ({own['adds']:+.1%}; alone {own['alone_ms']:.3g})"
            for count, own in ((count, row[f"batch_{batch}"]) for count, row in rows.items())
        )
        print(f"encoder and regions against encoder, batch {batch}: {adds}")
    if cuda:
        print("\n".join(verdict(rows, given.batches[-1])))
    if given.plot:
        save(given.plot, plot(rows, given.batches, title))
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
    said = {name: value for name, value in vars(given).items() if name != "plot"}
    print(json.dumps({"bench": "llm", **said, "rows": rows, **machine, **versions}))


if __name__ == "__main__":
    main()
