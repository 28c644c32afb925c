"""Whether a diagnosis may write into a folder that holds the results of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError
from regiontok.system.strict_json import parse_json

RESULTS = "results.json"


class OtherDiagnosis(RegiontokError, ValueError):
    """A folder holds a diagnosis of other encoders, photos or settings, or no diagnosis."""


def check_results(
    folder: Path,
    encoders: Sequence[str],
    photos: str | None,
    settings: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Refuse to replace the results of another diagnosis.

    More encoders or remedies than before are no other diagnosis.

    Args:
        folder: where the results go.
        encoders: fingerprints of the encoders at their layers.
        photos: hash of the photos; None takes any: a run that goes on loses no measurement.
        settings: the settings as the results have them.
        overwrite: whether results of another diagnosis may be replaced.

    Raises:
        OtherDiagnosis: If they may not, or the file of the results' name holds something else.
    """
    path = folder / RESULTS
    if not path.exists():
        return
    try:
        results = parse_json(path.read_text(encoding="utf-8"))
        before = {row["fingerprint"] for row in results["rows"]}
        pairs = [("photos", results["photos"]["hash"], photos)] if photos else []
        pairs += [(name, results["settings"].get(name), value) for name, value in settings.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OtherDiagnosis(
            f"{path} is there and is no diagnosis: move it away, or choose another --out"
        ) from None
    reasons = [f"{name} {earlier!r}, now {now!r}" for name, earlier, now in pairs if earlier != now]
    if not before <= set(encoders):
        reasons.insert(0, "an encoder that is not named now, or other weights of it")
    if reasons and not overwrite:
        raise OtherDiagnosis(
            f"{folder} holds a diagnosis with other settings: {reasons[0]}; replace it with "
            "--overwrite, or choose another --out"
        )
