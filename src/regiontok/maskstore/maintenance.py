"""Looking after a mask store: read every file whole, set corrupt ones aside, merge stores."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regiontok.maskstore.layout import (
    check_segmenter,
    check_shard_keys,
    part_files,
    read_marker,
    shard_files,
)
from regiontok.maskstore.parquet_file import GROUP_IMAGES, KEY, MaskRowGroup, file_keys
from regiontok.maskstore.writer import compact, create_store
from regiontok.system.files import replacing


@dataclass(frozen=True)
class FileVerdict:
    """What `verify` says of one file.

    Attributes:
        path: the file.
        images: images that could be read.
        problem: what is wrong with it first, or None.
        is_part: True if it is a part, which nobody has sorted into shards yet.
    """

    path: Path
    images: int
    problem: str | None
    is_part: bool


def verify(root: str | Path) -> Iterator[FileVerdict]:
    """Read every file of a store whole, every code too.

    Raises:
        ValueError: If the folder is no store.
    """
    root = Path(root).expanduser()
    fingerprint = read_marker(root).fingerprint
    shard_by_key: dict[str, Path] = {}
    for path in shard_files(root / fingerprint):
        yield _verdict(path, fingerprint, shard_by_key, is_part=False)
    for path in part_files(root / fingerprint):
        yield _verdict(path, fingerprint, {}, is_part=True)


def _verdict(
    path: Path, fingerprint: str, shard_by_key: dict[str, Path], *, is_part: bool
) -> FileVerdict:
    images = 0
    try:
        keys = file_keys(path, fingerprint)
        _check_keys(path, keys, shard_by_key, is_part=is_part)
        for number in range(-(-len(keys) // GROUP_IMAGES)):
            group = MaskRowGroup.read(path, number)
            for row in range(len(group.keys)):
                group.masks(row)
            images += len(group.keys)
        if images != len(keys):
            raise ValueError(f"{path}: corrupt (its groups are not of {GROUP_IMAGES} images)")
        return FileVerdict(path, images, None, is_part)
    except ValueError as error:
        return FileVerdict(path, images, str(error), is_part)


def _check_keys(
    path: Path, keys: Sequence[str], shard_by_key: dict[str, Path], *, is_part: bool
) -> None:
    """Raise ValueError unless the keys are hashes, each once, in the shard they belong to."""
    if any(not KEY.fullmatch(key) for key in keys):
        raise ValueError(f"{path}: corrupt (it holds a key that is no hash)")
    if is_part and len(set(keys)) != len(keys):
        raise ValueError(f"{path}: corrupt (it holds a key twice)")
    if not is_part:
        check_shard_keys(path, keys)
    for key in keys:
        if shard_by_key.setdefault(key, path) != path:
            raise ValueError(f"{path}: corrupt ({key} is in {shard_by_key[key].name} too)")


def set_aside_corrupt(root: str | Path) -> list[FileVerdict]:
    """Rename every corrupt file to `*.corrupt`, where no reader looks.

    Its images count as not done.
    """
    corrupt = [verdict for verdict in verify(root) if verdict.problem]
    for verdict in corrupt:
        verdict.path.replace(verdict.path.with_name(f"{verdict.path.name}.corrupt"))
    return corrupt


def merge(
    sources: Sequence[str | Path], out: str | Path, *, skip_corrupt: bool = False
) -> list[FileVerdict]:
    """Bring all images of several stores of one segmenter into one.

    The first store that has an image wins.

    Args:
        sources: the stores that are merged.
        out: the store that gets all their images: a new one, or one of that segmenter.
        skip_corrupt: leave out corrupt files.

    Returns:
        The corrupt files that were left out.

    Raises:
        ValueError: If the stores are of different segmenters, or a file is corrupt and
            `skip_corrupt` is not set.
    """
    roots = [Path(source).expanduser() for source in sources]
    records = {root: read_marker(root) for root in roots}
    if not records:
        raise ValueError("name the stores to merge")
    segmenter = next(iter(records.values()))
    for root, record in records.items():
        check_segmenter(root, record, segmenter)
    verdicts = [verdict for root in roots for verdict in verify(root)]
    corrupt = [verdict for verdict in verdicts if verdict.problem]
    if corrupt and not skip_corrupt:
        raise ValueError(f"{corrupt[0].problem}; --skip-corrupt leaves it out")
    target = Path(out).expanduser()
    create_store(target, segmenter)
    folder = target / segmenter.fingerprint / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    sound = [verdict.path for verdict in verdicts if not verdict.problem]
    for number, path in enumerate(sound):
        with replacing(folder / f"{number:06d}-{uuid.uuid4().hex}.parquet") as temporary:
            shutil.copyfile(path, temporary)
    compact(target)
    return corrupt
