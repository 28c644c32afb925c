"""`regiontok check`: what works on this machine. Versions, devices, extras, caches, encoders and
segmenters; and one small real run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from regiontok.jobs.ls import encoders
from regiontok.system.hub import availability, cache_folder

State = Literal["ok", "absent", "broken"]
SEGMENTERS = (
    "facebook/sam2.1-hiera-large",
    "facebook/sam2.1-hiera-base-plus",
    "facebook/sam2.1-hiera-small",
    "facebook/sam2.1-hiera-tiny",
    "facebook/sam-vit-huge",
    "facebook/sam-vit-large",
    "facebook/sam-vit-base",
)
# What the library must be for what we do with it: 5.17 is the extra's own floor, 5.18 the first
# that takes ready-made visual tokens.
TRANSFORMERS = (("5.17", "encoders and SAM"), ("5.18", "ready-made visual tokens"))
SMOKE = ("lite", "merge(0.5) | sort('com')")  # the default encoder and its own clustering
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:[>~=]=\s*([\d.]+))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: where it stands in the table.
        state: "ok"; "absent": nobody needs it until they do, and `hint` says how to get it;
            "broken": regiontok does not work without.
    """

    group: str
    name: str
    value: str
    state: State = "ok"
    hint: str = ""


def check() -> list[Finding]:
    """Look at everything; takes some seconds, most of them to import torch."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _devices,
        _models,
        _caches,
        smoke,
    )
    return [finding for look in looks for finding in look()]


def broken(findings: Sequence[Finding]) -> list[Finding]:
    """What keeps regiontok from working: exit status 1."""
    return [finding for finding in findings if finding.state == "broken"]


def results(findings: Sequence[Finding]) -> Iterator[Table]:
    """A table a group."""
    colours = {"ok": "green", "absent": "yellow", "broken": "red"}
    for group in dict.fromkeys(finding.group for finding in findings):
        table = Table(
            title=group,
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=False,
            pad_edge=False,
        )
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for one in findings:
            if one.group == group:
                state = f"[{colours[one.state]}]{one.state}[/]"
                table.add_row(
                    state, escape(one.name), escape(" ".join(filter(None, [one.value, one.hint])))
                )
        yield table


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """What the closing JSON line holds."""
    groups: dict[str, dict[str, Any]] = {}
    for one in findings:
        groups.setdefault(one.group, {})[one.name] = {
            "state": one.state,
            "value": one.value,
            "hint": one.hint,
        }
    return {"broken": [one.name for one in broken(findings)], **groups}


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    state: State = "ok" if sys.version_info >= (3, 11) else "broken"
    yield Finding(
        "machine", "python", f"{version}, {platform.system()} {platform.machine()}", state
    )


def _packages(requirements: Sequence[str] | None = None) -> Iterator[Finding]:
    """What regiontok's own metadata asks for, against what is installed."""
    if requirements is None:
        requirements = metadata.requires("regiontok") or []
        yield Finding("packages", "regiontok", metadata.version("regiontok"))
    for text in requirements:
        extras, found = _EXTRA.search(text), _REQUIREMENT.match(text)
        extra = extras[1] if extras else ""
        if found and extra != "dev":
            yield _package(found[1], found[2], text, extra)
            if found[1] == "transformers" and extra == "hub":  # other extras name it too
                yield from _transformers()


def _package(name: str, least: str | None, text: str, extra: str) -> Finding:
    """One requirement; `text` is how it stands in the metadata."""
    group = f"extra {extra}" if extra else "packages"
    missing: State = "absent" if extra else "broken"
    command = f"pip install 'regiontok[{extra}]'" if extra else f"pip install '{text}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(group, name, "not installed:", missing, command)
    if least and _numbers(version) < _numbers(least):
        return Finding(group, name, f"{version} is older than {least}:", missing, command)
    return Finding(group, name, version)


def _transformers() -> Iterator[Finding]:
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return
    for wanted, what in TRANSFORMERS:
        new = _numbers(version) >= _numbers(wanted)
        hint = "" if new else f"pip install 'transformers>={wanted}'"
        yield Finding(
            "extra hub",
            f"transformers for {what}",
            f"needs {wanted}",
            "ok" if new else "absent",
            hint,
        )


def _devices() -> Iterator[Finding]:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        yield Finding("devices", "torch", f"cannot be imported: {error}", "broken")
        return
    yield Finding("devices", "cpu", f"{cores} cores, torch uses {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield Finding(
            "devices", f"cuda:{index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
        )
    if not torch.cuda.device_count():
        yield Finding("devices", "cuda", "no GPU that torch sees", "absent")
    if platform.system() == "Darwin":
        there = torch.backends.mps.is_available()
        yield Finding(
            "devices", "mps", "there" if there else "not available", "ok" if there else "absent"
        )


def _models() -> Iterator[Finding]:
    found = [(row["name"], row["here"]) for row in encoders()]
    yield from _sorted(
        "encoders", found, "regiontok ls encoders says where each lies; hf download NAME fetches it"
    )
    found = [
        ("felzenszwalb", "yes"),
        ("slic", "yes"),
        *((f"sam('{hub}')", availability(hub)) for hub in SEGMENTERS),
    ]
    yield from _sorted("segmenters", found, "hf download NAME fetches it")


def _sorted(group: str, found: Sequence[tuple[str, str]], how: str) -> Iterator[Finding]:
    """One line for what is here, in part and not here: the list is long, and few of them are
    wanted."""
    for state, title, hint in (
        ("yes", "here", ""),
        ("partly", "in part, or without safetensors", how),
        ("no", "not here", how),
    ):
        chosen = [name for name, one in found if one == state]
        if chosen:
            yield Finding(
                group,
                title,
                ", ".join(chosen),
                "ok" if state == "yes" else "absent",
                hint and f"({hint})",
            )


def _caches() -> Iterator[Finding]:
    hub = cache_folder()
    above = next(folder for folder in (hub, *hub.parents) if folder.exists())
    yield Finding("caches", "hub", f"{hub}: {shutil.disk_usage(above).free / 2**30:.1f} GiB free")
    own = Path(
        os.environ.get("NUMBA_CACHE_DIR")
        or Path(__file__).parents[2] / "steps" / "kernels" / "__pycache__"
    )
    if _writable(own):
        yield Finding("caches", "numba", str(own))
    else:
        hint = "so every process compiles anew: set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding("caches", "numba", f"{own} cannot be written,", "absent", hint)


def _writable(folder: Path) -> bool:
    """Whether a file can be made there; a folder that does not exist yet is judged by the one it
    would be made in."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False


def smoke(encoder: str = SMOKE[0], regions: str = SMOKE[1]) -> Iterator[Finding]:
    """Encode and cluster a generated scene with what a user gets by default."""
    start = time.perf_counter()
    try:
        from regiontok.miniworld.scenes import make_scene
        from regiontok.tokenizer.region_tokenizer import RegionTokenizer

        run = RegionTokenizer(encoder, regions).run(make_scene(0, (240, 320)).pixels)
        patches, tokens = len(run.trails[0][0]), len(run.tokens)
    except Exception as error:  # whatever it is, it is what this command is asked to find
        yield Finding("a small run", encoder, f"{type(error).__name__}: {error}", "broken")
        return
    value = f"{patches} patches -> {regions} -> {tokens} tokens in {time.perf_counter() - start:.1f} s, imports and compiling included"
    yield Finding("a small run", encoder, value, "ok" if 0 < tokens < patches else "broken")


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: "5.18.0.dev1" -> (5, 18, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
