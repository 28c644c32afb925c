"""The archives that the servers of GOT-10k and TrackingNet take, written whole or not at all.

After: the GOT-10k toolkit and OSTrack's transform_got10k.py and transform_trackingnet.py: GOT-10k's
    zip has a folder a clip with `NAME_001.txt` (x,y,w,h a line) and `NAME_time.txt` (seconds a
    line), TrackingNet's a file `NAME.txt` a clip.
Differs: boxes keep three decimals; OSTrack cuts them to whole pixels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from regiontok.probe.track.clips import ClipSet
from regiontok.probe.track.tracker import Track
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing
from regiontok.system.writing import clear_write_errors

_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same boxes give the same bytes


class BadSubmission(RegiontokError, ValueError):
    """Tracks that a server would refuse; the message says why."""


def _got10k(track: Track) -> dict[str, str]:
    boxes = "".join(_line(box) for box in track.boxes)
    seconds = "".join(f"{second:.8f}\n" for second in track.seconds)
    name = track.name
    return {f"{name}/{name}_001.txt": boxes, f"{name}/{name}_time.txt": seconds}


def _trackingnet(track: Track) -> dict[str, str]:
    return {f"{track.name}.txt": "".join(_line(box) for box in track.boxes)}


def _line(box: Iterable[float]) -> str:
    return ",".join(f"{number:.3f}" for number in box) + "\n"


FORMS: dict[str, Callable[[Track], dict[str, str]]] = {
    "got10k": _got10k,
    "trackingnet": _trackingnet,
}


def check_form(form: str) -> None:
    """Refuse a form of archive that is not known.

    Raises:
        ValueError: If it is none of `FORMS`.
    """
    if form not in FORMS:
        raise ValueError(f"submissions have the form {' or '.join(FORMS)}, not {form!r}")


def write_submission(path: Path, form: str, tracks: Sequence[Track], clips: ClipSet) -> Path:
    """Write the archive of a data set's tracks.

    Args:
        path: the zip file; an older one is replaced.
        form: "got10k" or "trackingnet".
        tracks: a track of every clip.
        clips: the clips that the server asks for.

    Raises:
        ValueError: If the form is another.
        BadSubmission: If a clip has no track or was set aside: the server would refuse all.
        OSError: If the file cannot be written; nothing half-written stays.
    """
    check_form(form)
    by_name = {track.name: track for track in tracks}
    missing = [clip.name for clip in clips.clips if clip.name not in by_name]
    if missing or clips.set_aside:
        first = (missing or list(clips.set_aside))[0]
        reason = clips.set_aside.get(first, "it was not followed")
        raise BadSubmission(
            f"{path} is not written: {len(missing) + len(clips.set_aside)} clips have no track, "
            f"{first} among them ({reason}); the server wants all of them"
        )
    members = {
        _safe(name): text
        for clip in clips.clips
        for name, text in FORMS[form](by_name[clip.name]).items()
    }
    with clear_write_errors(path), replacing(path) as temporary:
        _write(temporary, members)
    return path


def _write(path: Path, members: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            member = zipfile.ZipInfo(name, _DATE)
            archive.writestr(member, text, compress_type=zipfile.ZIP_DEFLATED)


def _safe(name: str) -> str:
    """A member's name that stays within the folder where the archive is unpacked."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise BadSubmission(f"a clip is named {name!r}, which leads out of the archive")
    return name
