"""How far a clustering has come: the centres after its last iteration, and what each has given."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.kmeans.lloyd import Iteration
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

if TYPE_CHECKING:
    from jaxtyping import Float


class ClusterState:
    """A folder with the centres of the last iteration and a JSON, written last, that names them.

    Two runs at once write the same bytes under the same names.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def number(self) -> int:
        """How many iterations are done."""
        return int(self._stated()["number"])

    @property
    def seconds(self) -> float:
        """Time that they took."""
        return float(self._stated()["seconds"])

    def is_there(self) -> bool:
        """True if there are centres to go on from; damaged ones are not."""
        try:
            stated = self._stated()
            data = self._path(int(stated["number"])).read_bytes()
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return hashlib.sha256(data).hexdigest() == stated["sha256"]

    def centres(self) -> Float[np.ndarray, "K d"]:
        """The centres after the last iteration."""
        centres: np.ndarray = np.load(self._path(self.number), allow_pickle=False)
        return centres

    def history(self) -> dict[str, Any]:
        """Inertia and empty centres of each iteration; the sizes of clusters in the last."""
        stated = self._stated()
        return {name: stated[name] for name in ("inertia", "empty", "smallest", "largest")}

    def write(self, iteration: Iteration, seconds: float) -> None:
        """Write the centres of an iteration; 0 is the start, which forgets what was there.

        Args:
            iteration: what it has given.
            seconds: time that all iterations took so far.
        """
        number = iteration.number
        before = self._stated() if number else {"inertia": [], "empty": []}
        path = self._path(number)
        with replacing_shared(path) as temporary, temporary.open("wb") as file:
            np.save(file, iteration.centres)
        stated = {
            "number": number,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "inertia": [*before["inertia"], iteration.inertia][: number or 0],
            "empty": [*before["empty"], iteration.empty][: number or 0],
            "smallest": int(iteration.counts.min()),
            "largest": int(iteration.counts.max()),
            "seconds": seconds,
        }
        with replacing_shared(self.folder / "state.json") as temporary:
            temporary.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
        with suppress(FileNotFoundError):
            self._path(number - 2).unlink()  # the last but one stays for a slower run beside this

    def _path(self, number: int) -> Path:
        return self.folder / f"centres.{number:03}.npy"

    def _stated(self) -> dict[str, Any]:
        stated: dict[str, Any] = parse_json((self.folder / "state.json").read_bytes())
        return stated
