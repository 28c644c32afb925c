"""Care of a mask store: read every file whole, set corrupt ones aside, merge stores."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regiontok.maskstore.file import GROUP, KEY, Group, file_keys
from regiontok.maskstore.store import check_place, compare, marked, parts, shards
from regiontok.maskstore.writer import compact, create
from regiontok.system.files import replacing


@dataclass(frozen=True)
class Verdict:
    """What `verify` found in one file: its images, or its first problem; `part` is True for what is
    not sorted in yet."""

    path: Path
    images: int
    problem: str | None
    part: bool


def verify(root: str | Path) -> Iterator[Verdict]:
    """Read every file of a store whole, every code too."""
    root = Path(root).expanduser()
    fingerprint = marked(root).fingerprint
    owner: dict[str, Path] = {}
    for path in shards(root / fingerprint):
        yield _verdict(path, fingerprint, owner, part=False)
    for path in parts(root / fingerprint):
        yield _verdict(path, fingerprint, {}, part=True)


def _verdict(path: Path, fingerprint: str, owner: dict[str, Path], *, part: bool) -> Verdict:
    images = 0
    try:
        keys = file_keys(path, fingerprint)
        if any(not KEY.fullmatch(key) for key in keys):
            raise ValueError(f"{path}: corrupt (it holds a key that is no hash)")
        if part and len(set(keys)) != len(keys):
            raise ValueError(f"{path}: corrupt (it holds a key twice)")
        if not part:
            check_place(path, keys)
        for key in keys:
            if owner.setdefault(key, path) != path:
                raise ValueError(f"{path}: corrupt ({key} is in {owner[key].name} too)")
        for number in range(-(-len(keys) // GROUP)):
            group = Group.read(path, number)
            for row in range(len(group.keys)):
                group.masks(row)
            images += len(group.keys)
        if images != len(keys):
            raise ValueError(f"{path}: corrupt (its groups are not of {GROUP} images)")
        return Verdict(path, images, None, part)
    except ValueError as error:
        return Verdict(path, images, str(error), part)


def set_aside_corrupt(root: str | Path) -> list[Verdict]:
    """Rename every corrupt file to `*.corrupt`, where no reader looks: its images count as not
    done."""
    found = [verdict for verdict in verify(root) if verdict.problem]
    for verdict in found:
        verdict.path.replace(verdict.path.with_name(f"{verdict.path.name}.corrupt"))
    return found


def merge(
    sources: Sequence[str | Path], out: str | Path, *, skip_corrupt: bool = False
) -> list[Verdict]:
    """All images of several stores of one segmenter in `out` (new, or of that segmenter too); the
    first store that has an image wins.

    Returns what was left out: corrupt files, if `skip_corrupt`.

    Raises:
        ValueError: stores of different segmenters, or a corrupt file.
    """
    roots = [Path(source).expanduser() for source in sources]
    makers = {root: marked(root) for root in roots}
    first = next(iter(makers), None)
    if first is None:
        raise ValueError("name the stores to merge")
    for root, maker in makers.items():
        compare(root, maker, makers[first])
    verdicts = [verdict for root in roots for verdict in verify(root)]
    corrupt = [verdict for verdict in verdicts if verdict.problem]
    if corrupt and not skip_corrupt:
        raise ValueError(f"{corrupt[0].problem}; --skip-corrupt leaves it out")
    target = Path(out).expanduser()
    create(target, makers[first])
    folder = target / makers[first].fingerprint / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    for number, verdict in enumerate(verdict for verdict in verdicts if not verdict.problem):
        with replacing(folder / f"{number:06d}-{uuid.uuid4().hex}.parquet") as part:
            shutil.copyfile(verdict.path, part)
    compact(target)
    return corrupt
