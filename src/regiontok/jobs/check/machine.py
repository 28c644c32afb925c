"""`regiontok check`: what works on this machine.

Versions, devices, extras, caches, encoders and segmenters are looked at; and one small run is made.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from regiontok.jobs.ls import encoder_rows
from regiontok.system.hub import availability, cache_folder

FindingState = Literal["ok", "absent", "broken"]
SEGMENTERS = (
    "facebook/sam2.1-hiera-large",
    "facebook/sam2.1-hiera-base-plus",
    "facebook/sam2.1-hiera-small",
    "facebook/sam2.1-hiera-tiny",
    "facebook/sam-vit-huge",
    "facebook/sam-vit-large",
    "facebook/sam-vit-base",
)
# Versions of transformers and what needs them: 5.17 is the extra's own floor, 5.18 the first that
# takes ready-made visual tokens, 5.21 the first that computes the logits of masked places alone.
TRANSFORMERS = (
    ("5.17", "encoders and SAM"),
    ("5.18", "ready-made visual tokens"),
    ("5.21", "training"),
)
SMALL_RUN = ("lite", "merge(0.5) | sort('com')")  # the default encoder and its own clustering
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:[>~=]=\s*([\d.]+))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        group: title of the table that it stands in.
        name: what was looked at.
        value: what it is: a version, a size, a path.
        state: "ok"; "absent" for what nobody needs until they do, and `hint` says how to get it;
            "broken" for what regiontok does not work without.
        hint: what to do about it.
    """

    group: str
    name: str
    value: str
    state: FindingState = "ok"
    hint: str = ""


def check_machine() -> list[Finding]:
    """Look at everything; this takes some seconds, most of them to import torch."""
    return list(
        chain(_python(), _packages(), _devices(), _models(), _caches(), try_small_run(*SMALL_RUN))
    )


def broken(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that keep regiontok from working."""
    return [finding for finding in findings if finding.state == "broken"]


def machine_report(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings by group and name, as the closing JSON line holds them."""
    groups: dict[str, dict[str, Any]] = {}
    for finding in findings:
        groups.setdefault(finding.group, {})[finding.name] = {
            "state": finding.state,
            "value": finding.value,
            "hint": finding.hint,
        }
    return {"broken": [finding.name for finding in broken(findings)], **groups}


def _python() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    state: FindingState = "ok" if sys.version_info >= (3, 11) else "broken"
    yield Finding("machine", "python", f"{platform.python_version()}, {system}", state)


def _packages(requirements: Sequence[str] | None = None) -> Iterator[Finding]:
    """What is installed, against the requirements in regiontok's own metadata."""
    if requirements is None:
        requirements = metadata.requires("regiontok") or []
        yield Finding("packages", "regiontok", metadata.version("regiontok"))
    for text in requirements:
        extra_marker, requirement = _EXTRA.search(text), _REQUIREMENT.match(text)
        extra = extra_marker[1] if extra_marker else ""
        if requirement and extra != "dev":
            name, least = requirement.groups()
            yield _package(name, least, text, extra)
            if name == "transformers" and extra == "hub":  # other extras name it too
                yield from _transformers()


def _package(name: str, least: str | None, text: str, extra: str) -> Finding:
    """One requirement.

    Args:
        name: the package.
        least: its lowest version; None takes any.
        text: the requirement as the metadata has it.
        extra: the extra that asks for it; "" for a package that everybody needs.
    """
    group = f"extra {extra}" if extra else "packages"
    missing: FindingState = "absent" if extra else "broken"
    command = f"pip install 'regiontok[{extra}]'" if extra else f"pip install '{text}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(group, name, "not installed:", missing, command)
    if least and _release(version) < _release(least):
        return Finding(group, name, f"{version} is older than {least}:", missing, command)
    return Finding(group, name, version)


def _transformers() -> Iterator[Finding]:
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return
    for least, purpose in TRANSFORMERS:
        name, value = f"transformers for {purpose}", f"needs {least}"
        if _release(version) >= _release(least):
            yield Finding("extra hub", name, value)
        else:
            hint = f"pip install 'transformers>={least}'"
            yield Finding("extra hub", name, value, "absent", hint)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        yield Finding("devices", "torch", f"cannot be imported: {error}", "broken")
        return
    threads = torch.get_num_threads()
    yield Finding("devices", "cpu", f"{_cores()} cores, torch uses {threads} threads")
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = gpu.total_memory / 2**30
        yield Finding("devices", f"cuda:{index}", f"{gpu.name}, {memory:.0f} GiB")
    if not torch.cuda.device_count():
        yield Finding("devices", "cuda", "no GPU that torch sees", "absent")
    if platform.system() == "Darwin":
        if torch.backends.mps.is_available():
            yield Finding("devices", "mps", "there")
        else:
            yield Finding("devices", "mps", "not available", "absent")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _models() -> Iterator[Finding]:
    yield from _models_by_place(
        "encoders",
        [(row["name"], row["here"]) for row in encoder_rows()],
        "regiontok ls encoders says where each lies; hf download NAME fetches it",
    )
    segmenters = [(f"sam('{hub}')", availability(hub)) for hub in SEGMENTERS]
    yield from _models_by_place(
        "segmenters",
        [("felzenszwalb", "yes"), ("slic", "yes"), *segmenters],
        "hf download NAME fetches it",
    )


def _models_by_place(group: str, models: Sequence[tuple[str, str]], hint: str) -> Iterator[Finding]:
    """One finding each for the models that are here, here in part, and not here.

    The list is long, and few of them are wanted.

    Args:
        group: title of the findings' table.
        models: pairs of a name and "yes", "partly" or "no".
        hint: how to get a model.
    """
    for place, title in (
        ("yes", "here"),
        ("partly", "in part, or without safetensors"),
        ("no", "not here"),
    ):
        names = ", ".join(name for name, is_here in models if is_here == place)
        if names and place == "yes":
            yield Finding(group, title, names)
        elif names:
            yield Finding(group, title, names, "absent", f"({hint})")


def _caches() -> Iterator[Finding]:
    hub = cache_folder()
    free = shutil.disk_usage(_existing(hub)).free / 2**30
    yield Finding("caches", "hub", f"{hub}: {free:.1f} GiB free")
    kernels = Path(__file__).parents[2] / "steps" / "kernels" / "__pycache__"
    numba = Path(os.environ.get("NUMBA_CACHE_DIR") or kernels)
    if _writable(numba):
        yield Finding("caches", "numba", str(numba))
    else:
        hint = "so every process compiles anew: set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding("caches", "numba", f"{numba} cannot be written,", "absent", hint)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _writable(folder: Path) -> bool:
    """True if a file can be made in the folder, or in the one where the folder would be made."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return True
    except OSError:
        return False


def try_small_run(encoder: str, regions: str) -> Iterator[Finding]:
    """Encode and cluster a generated scene: how many tokens that gives, or why it gives none."""
    start = time.perf_counter()
    try:
        from regiontok.miniworld.scenes import make_scene
        from regiontok.tokenizer.region_tokenizer import RegionTokenizer

        run = RegionTokenizer(encoder, regions).run(make_scene(0, (240, 320)).pixels)
        patches, tokens = len(run.trails[0][0]), len(run.tokens)
    except Exception as error:  # whatever it is, it is what this command is asked to find
        yield Finding("a small run", encoder, f"{type(error).__name__}: {error}", "broken")
        return
    seconds = time.perf_counter() - start
    value = (
        f"{patches} patches -> {regions} -> {tokens} tokens in {seconds:.1f} s, imports and "
        "compiling included"
    )
    yield Finding("a small run", encoder, value, "ok" if 0 < tokens < patches else "broken")


def _release(version: str) -> tuple[int, ...]:
    """The release of a version: "5.18.0.dev1" is (5, 18, 0)."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()
