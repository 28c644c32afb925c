"""How long class centres take, and how much memory, against the same loss in plain autograd.

    python bench/classes.py                             # 10k and 100k classes, all and a tenth
    python bench/classes.py --classes 1000000           # a tenth of a million
    python bench/classes.py --classes 1000000 --plain-full-million   # also all of them: 15 GB
    python bench/classes.py --classes 1000000 --regions 2560 --device cuda --bf16

"fused" is `ClassCentres`; "plain" normalises the centres, makes all logits, masks them, and leaves
the backward pass to autograd. Where classes are sampled there are two plain forms: "plain" takes
the rows by indexing the parameter, whose gradient is then as large as all centres; "leaf" copies
them into a leaf first, as published sharded heads do. "products" is the four matrix products of the
fused form alone, in chunks of the same size and in its type. Forward and backward are timed; no
form includes an optimizer's step. All forms give the same loss (checked to 1e-4, with --bf16 to
1e-2).

Every form runs in a process of its own, in turn, `--rounds` times over. Seconds are the best of all
runs of all rounds: of the clock, and of the processor ("cpu"; with --threads 1 a busy machine shows
little in it). "extra" is the peak of resident memory (VmHWM; on a GPU what its allocator held)
above what was held once the centres existed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives

LOSS = RegionLoss()
CHUNK = {"cpu": 1 << 20, "cuda": 1 << 26}  # logits at a time, as many as `ClassCentres` makes


def status(key: str) -> int:
    """The bytes that a line of /proc/self/status tells."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)
    )
    return int(line.split()[1]) * 1024


def plain(x: Tensor, w: Tensor, labels: Tensor, rows: Tensor | None, leaf: bool) -> Tensor:
    """The mean of equation 3, all logits at once; `rows` are the classes drawn, None for all."""
    if rows is None:
        columns, targets = w, labels
    else:
        place = torch.full((len(w),), -1, device=w.device)
        place[rows] = torch.arange(len(rows), device=w.device)
        columns, targets = (w.detach()[rows].requires_grad_() if leaf else w[rows]), place[labels]
    unit = F.normalize(x, dim=1)
    positives = (
        unit * F.normalize(w.detach()[labels].requires_grad_() if leaf else w[labels], dim=1)
    ).sum(1)
    logits = LOSS.scale * unit @ F.normalize(columns, dim=1).T
    hit = targets >= 0
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[hit.nonzero().flatten(), targets[hit]] = True
    negative = logits.masked_fill(mask, -torch.inf).logsumexp(1)
    return LOSS(
        positives[:, None], torch.ones_like(targets, dtype=torch.bool)[:, None], negative
    ).mean()


def products(x: Tensor, w: Tensor, rows: Tensor | None, bf16: bool) -> None:
    """The four matrix products: logits twice, gradients of centres and of regions."""
    kind = torch.bfloat16 if bf16 else x.dtype
    size = max(256, CHUNK[x.device.type] // len(x))
    count, x = len(w) if rows is None else len(rows), x.to(kind)
    chunk = w[:size].to(kind)
    logits, gradient, dx = x.new_empty(len(x), size), torch.empty_like(chunk), torch.empty_like(x)
    for begin in range(0, count, size):
        c = min(size, count - begin)
        for _ in range(2):
            torch.mm(x, chunk[:c].T, out=logits[:, :c])
        torch.mm(logits[:, :c].T, x, out=gradient[:c])
        torch.mm(logits[:, :c], chunk[:c], out=dx)


def work(form: str, classes: int, args: argparse.Namespace) -> tuple[Callable[[], float], int]:
    """A function that runs a form and returns its loss, and the bytes held before it runs."""
    device, draw = torch.device(args.device), torch.Generator().manual_seed(0)
    negatives = Negatives(rho=args.rho)
    x = torch.randn(args.regions, args.width, generator=draw).to(device).requires_grad_()
    labels = torch.randint(classes, (args.regions,), generator=draw).to(device)
    kind = torch.bfloat16 if args.bf16 else None
    head = ClassCentres(
        [ClassHead("object", classes, LOSS, negatives)], args.width, products=kind, device=device
    )
    w = head.local("object")
    chosen = negatives.chosen(0, 0, classes, labels, "object") if args.rho < 1 else None
    rows = None if chosen is None else chosen.nonzero().flatten()

    def run() -> float:
        x.grad = None
        head.gradients.clear()
        if form == "products":
            products(x.detach(), w, rows, args.bf16)
            return float("nan")
        if form == "fused":
            loss = head(x, {"object": labels}, 0).loss
        else:
            leaf = w.detach().requires_grad_()
            loss = plain(x, leaf, labels, rows, form == "leaf")
        loss.backward()
        return loss.item()

    return run, status("VmRSS:") if device.type == "cpu" else torch.cuda.memory_allocated()


def child(form: str, classes: int, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of the best run, bytes above the centres, and the loss."""
    run, bytes_before = work(form, classes, args)
    if args.device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of making the centres
    taken, busy, loss = [], [], float("nan")
    torch.set_num_threads(args.threads)
    for _ in range(args.runs):
        begin, cpu = time.perf_counter(), time.process_time()
        loss = run()
        if args.device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
        busy.append(time.process_time() - cpu)
    peak = status("VmHWM:") if args.device == "cpu" else torch.cuda.max_memory_allocated()
    return {"seconds": min(taken), "cpu": min(busy), "extra": peak - bytes_before, "loss": loss}


def measure(form: str, classes: int, rho: float, args: argparse.Namespace) -> dict[str, float]:
    """Measure a form in a process of its own."""
    words = f"--child {form} --classes {classes} --rho {rho} --runs {args.runs}".split()
    words += f"--device {args.device} --threads {args.threads}".split()
    words += f"--regions {args.regions} --width {args.width}".split()
    words += ["--bf16"] if args.bf16 else []
    output = subprocess.run(
        [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--regions", type=int, default=256)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--bf16", action="store_true", help="matrix products of the fused form in bfloat16"
    )
    parser.add_argument(
        "--plain-full-million",
        action="store_true",
        help="also the plain form of all of a million classes",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        args.rho = args.rho[0]
        print(json.dumps(child(args.child, args.classes[0], args)))
        return
    rows = []
    print("  classes   rho      form  seconds      cpu  extra MB      loss")
    for classes in args.classes:
        for rho in args.rho:
            forms = ["fused", "plain", *(["leaf"] if rho < 1 else []), "products"]
            if classes * rho >= 1e6 and not args.plain_full_million:
                forms.remove("plain")
            rounds = [
                {form: measure(form, classes, rho, args) for form in forms}
                for _ in range(args.rounds)
            ]
            for form in forms:
                row = {
                    key: min(timings[form][key] for timings in rounds)
                    for key in ("seconds", "cpu", "extra", "loss")
                }
                rows.append({"classes": classes, "rho": rho, "form": form} | row)
                print(
                    f"{classes:9} {rho:5} {form:>9} {row['seconds']:8.3f} {row['cpu']:8.3f}"
                    f" {row['extra'] / 1e6:9.0f} {row['loss']:9.4f}"
                )
            losses = [row["loss"] for row in rows[-len(forms) :] if row["form"] != "products"]
            if max(losses) - min(losses) > (1e-2 if args.bf16 else 1e-4) * max(losses):
                raise SystemExit(f"the forms differ: {losses}")
    machine = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "device": args.device,
    }
    settings = {
        "regions": args.regions,
        "width": args.width,
        "bf16": args.bf16,
        "runs": args.runs,
        "rounds": args.rounds,
    }
    print(json.dumps(machine | settings | {"rows": rows}))


if __name__ == "__main__":
    main()
