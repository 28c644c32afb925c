"""What region rows cost: a Region Transformer layer against a plain one and repeated images.

    python bench/rice_regions.py
    python bench/rice_regions.py --width 1024 --heads 16 --images 8 --device cuda --dtype bfloat16

There is one block of random weights, 24 x 24 patches, and 10 random boxes an image; forward and
backward are timed, with gradients of tokens and weights. "plain" runs the image's tokens, "region"
also the rows, and "repeated" the image once a region, each with its row as one more token under a
[t t] mask: the same numbers for the rows (checked). The three are timed in turn, so that a busy
machine slows all alike; "over plain" is the median over the rounds of each round's ratio. On a CPU
the time is the process's processor time (of all its threads), from which others take less than from
the clock; on a GPU it is the clock. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from regiontok.rice.visible import Visible
from regiontok.rice.vit import ViT, ViTConfig, rotate

GOAL = 1.10


def random_boxes(images: int, regions: int, side: int, generator: torch.Generator) -> Tensor:
    """Boxes `[b r 4]`, xyxy in patches, with sides of a tenth to the whole of the grid."""
    size = side * (0.1 + 0.9 * torch.rand(images, regions, 2, generator=generator))
    start = (side - size) * torch.rand(images, regions, 2, generator=generator)
    return torch.cat([start, start + size], -1)


class Bench:
    """A block, its input, and the three ways to run it; each gives the rows, or the tokens."""

    def __init__(self, args: argparse.Namespace) -> None:
        grid = (args.side, args.side)
        generator = torch.Generator().manual_seed(0)
        config = ViTConfig(
            width=args.width, depth=1, heads=args.heads, mlp=4 * args.width, patch=14
        )
        vit = ViT(config)
        visible = Visible.from_boxes(
            random_boxes(args.images, args.regions, args.side, generator), grid
        )
        x = torch.randn(args.images, 1 + args.side**2, args.width, generator=generator)
        dtype = getattr(torch, args.dtype)
        self.block = vit.to(args.device, dtype).blocks[0]
        self.rotary = tuple(table.detach() for table in vit.rotary(grid))
        self.mask = visible.mask[:, None].to(args.device)
        self.x = x.to(args.device, dtype).requires_grad_()

    @property
    def rows(self) -> Tensor:
        """The rows before the block: copies of CLS."""
        return self.x[:, :1].expand(-1, self.mask.shape[2], -1)

    def plain(self) -> Tensor:
        """Run the tokens alone."""
        return self.block(self.x, self.rotary)[0]

    def region(self) -> tuple[Tensor, Tensor]:
        """Run tokens and rows."""
        return self.block(self.x, self.rotary, self.rows, self.mask)

    def repeated(self) -> Tensor:
        """Run each row at the end of an image of its own."""
        block, attention, rows = self.block, self.block.attention, self.rows
        r = rows.shape[1]
        x = torch.cat([self.x.repeat_interleave(r, 0), rows.flatten(0, 1)[:, None]], 1)
        t = x.shape[1]
        may = torch.ones(len(x), 1, t, t, dtype=torch.bool, device=x.device)
        may[:, :, :, -1] = False
        may[:, 0, -1, 0] = False
        may[:, 0, -1, 1:-1] = self.mask[:, 0].flatten(0, 1)
        cos, sin = (torch.cat([table, table[:1]]) for table in self.rotary)
        normed = block.norm1(x)
        q, k = (
            rotate(attention.split(table(normed)), (cos, sin))
            for table in (attention.query, attention.key)
        )
        mixed = F.scaled_dot_product_attention(
            q, k, attention.split(attention.value(normed)), attn_mask=may
        )
        x = x + attention.out(mixed.transpose(1, 2).flatten(2))
        return (x + block.mlp(block.norm2(x)))[:, -1].unflatten(0, (-1, r))

    def seconds(self, run: Callable[[], Tensor | tuple[Tensor, Tensor]]) -> float:
        """The time of a forward and backward pass."""
        self.block.zero_grad()
        self.x.grad = None
        self._wait()
        clock = time.perf_counter if self.x.is_cuda else time.process_time
        start = clock()
        out = run()
        tensors = out if isinstance(out, tuple) else (out,)
        torch.stack([tensor.float().square().mean() for tensor in tensors]).sum().backward()
        self._wait()
        return clock() - start

    def _wait(self) -> None:
        if self.x.is_cuda:
            torch.cuda.synchronize()


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"width": 768, "heads": 12, "side": 24, "regions": 10, "images": 4}
    for name, default in {**sizes, "rounds": 7, "threads": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--repeated-rounds",
        type=int,
        default=2,
        help="rounds that also run the repeated form, which takes long",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    bench = Bench(args)
    with torch.no_grad():
        off = (bench.region()[1] - bench.repeated()).abs().max().item()
    ways = {"plain": bench.plain, "region": bench.region, "repeated": bench.repeated}
    for way in ("plain", "region"):
        bench.seconds(ways[way])  # warm up
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(args.rounds):
        for way, run in ways.items():
            if way != "repeated" or number < args.repeated_rounds:
                times[way].append(bench.seconds(run))
    ratios = {
        way: statistics.median(a / b for a, b in zip(durations, times["plain"], strict=False))
        for way, durations in times.items()
    }
    print(
        f"{args.images} images, {args.side} x {args.side} patches, {args.regions} regions, "
        f"d = {args.width}, {args.dtype}, {args.device}"
    )
    for way, durations in times.items():
        print(
            f"{way:9} {1e3 * statistics.median(durations):9.1f} ms   {ratios[way]:6.3f} over plain"
        )
    print(
        f"largest difference of a row, region against repeated: {off:.1e}; "
        f"goal: region at most {GOAL} over plain"
    )
    result = vars(args) | {
        "ms": {way: [1e3 * s for s in durations] for way, durations in times.items()},
        "over_plain": ratios,
        "difference": off,
    }
    print(json.dumps(result | {"torch": torch.__version__, "machine": platform.machine()}))


if __name__ == "__main__":
    main()
