"""What region rows cost: a Region Transformer layer against a plain layer, and against repeating
the image once a region.

    python bench/rice_regions.py
    python bench/rice_regions.py --width 1024 --heads 16 --images 8 --device cuda --dtype bfloat16

One block of random weights, 24 x 24 patches, 10 random boxes an image; forward and backward,
gradients of tokens and weights. "plain" runs the image's tokens, "region" also the rows, "repeated"
puts the image of every region beside the others with its row as one more token under a [t t] mask:
the same numbers for the rows (checked). The three are timed in turn, so that a busy machine slows
all alike; "over plain" is the median over the rounds of each round's ratio. On a CPU it is the
process's processor time (of all its threads), which others take less from than from the clock; on a
GPU the clock. The last line is JSON.
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

from regiontok.rice.region_attention import Visible
from regiontok.rice.vit import ViT, ViTConfig, rotate

GOAL = 1.10


def random_boxes(images: int, regions: int, side: int, generator: torch.Generator) -> Tensor:
    """`[b r 4]` xyxy in patches, sides of a tenth to the whole of the grid."""
    size = side * (0.1 + 0.9 * torch.rand(images, regions, 2, generator=generator))
    start = (side - size) * torch.rand(images, regions, 2, generator=generator)
    return torch.cat([start, start + size], -1)


class Bench:
    """One block and its input, and the three ways to run it; each gives the rows, or the tokens."""

    def __init__(self, args: argparse.Namespace) -> None:
        grid = (args.side, args.side)
        generator = torch.Generator().manual_seed(0)
        vit = ViT(ViTConfig(args.width, 1, args.heads, 4 * args.width, 14))
        seen = Visible.from_boxes(
            random_boxes(args.images, args.regions, args.side, generator), grid
        )
        x = torch.randn(args.images, 1 + args.side**2, args.width, generator=generator)
        dtype = getattr(torch, args.dtype)
        self.block = vit.to(args.device, dtype).blocks[0]
        self.turn = tuple(part.detach() for part in vit.turn(grid))
        self.mask = seen.mask[:, None].to(args.device)
        self.x = x.to(args.device, dtype).requires_grad_()

    @property
    def rows(self) -> Tensor:
        """Copies of CLS."""
        return self.x[:, :1].expand(-1, self.mask.shape[2], -1)

    def plain(self) -> Tensor:
        """Tokens alone."""
        return self.block(self.x, self.turn)[0]

    def region(self) -> tuple[Tensor, Tensor]:
        """Tokens and rows."""
        return self.block(self.x, self.turn, self.rows, self.mask)

    def repeated(self) -> Tensor:
        """Rows, at the end of an image of their own."""
        block, attention, rows = self.block, self.block.attention, self.rows
        r = rows.shape[1]
        x = torch.cat([self.x.repeat_interleave(r, 0), rows.flatten(0, 1)[:, None]], 1)
        t = x.shape[1]
        may = torch.ones(len(x), 1, t, t, dtype=torch.bool, device=x.device)
        may[:, :, :, -1] = False
        may[:, 0, -1, 0] = False
        may[:, 0, -1, 1:-1] = self.mask[:, 0].flatten(0, 1)
        cos, sin = (torch.cat([part, part[:1]]) for part in self.turn)
        normed = block.norm1(x)
        q, k = (
            rotate(attention.split(part(normed)), (cos, sin))
            for part in (attention.query, attention.key)
        )
        mixed = F.scaled_dot_product_attention(
            q, k, attention.split(attention.value(normed)), attn_mask=may
        )
        x = x + attention.out(mixed.transpose(1, 2).flatten(2))
        return (x + block.mlp(block.norm2(x)))[:, -1].unflatten(0, (-1, r))

    def seconds(self, run: Callable[[], Tensor | tuple[Tensor, Tensor]]) -> float:
        """Forward and backward, once."""
        self.block.zero_grad()
        self.x.grad = None
        self._wait()
        clock = time.perf_counter if self.x.is_cuda else time.process_time
        start = clock()
        out = run()
        parts = out if isinstance(out, tuple) else (out,)
        torch.stack([part.float().square().mean() for part in parts]).sum().backward()
        self._wait()
        return clock() - start

    def _wait(self) -> None:
        if self.x.is_cuda:
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("width", 768),
        ("heads", 12),
        ("side", 24),
        ("regions", 10),
        ("images", 4),
        ("rounds", 7),
        ("threads", 0),
    ):
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
        way: statistics.median(a / b for a, b in zip(each, times["plain"], strict=False))
        for way, each in times.items()
    }
    print(
        f"{args.images} images, {args.side} x {args.side} patches, {args.regions} regions, d = {args.width}, {args.dtype}, {args.device}"
    )
    for way, each in times.items():
        print(f"{way:9} {1e3 * statistics.median(each):9.1f} ms   {ratios[way]:6.3f} over plain")
    print(
        f"largest difference of a row, region against repeated: {off:.1e}; goal: region at most {GOAL} over plain"
    )
    result = vars(args) | {
        "ms": {way: [1e3 * s for s in each] for way, each in times.items()},
        "over_plain": ratios,
        "difference": off,
    }
    print(json.dumps(result | {"torch": torch.__version__, "machine": platform.machine()}))


if __name__ == "__main__":
    main()
