"""Models that come with the package, by name: `mini-patch`, and `mini` for the best of them.

Each is a folder of `regiontok/shipped`; `shipped.json` in it says how it came about and how well it
answers. Nothing is listed by hand: what lies there is what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.errors import UnusableModel

FOLDER = Path(__file__).parents[1] / "shipped"
FACTS = "shipped.json"
BEST = "mini"


@dataclass(frozen=True)
class ShippedModel:
    """A model that comes with the package.

    Attributes:
        name: its name, which is that of its folder.
        folder: where it lies.
        facts: what `shipped.json` says: `what`, `recipe`, `parameters`, `accuracy`, and more.
    """

    name: str
    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> ShippedModel:
        """The model of a folder.

        Raises:
            UnusableModel: If its facts cannot be read: the installation is damaged.
        """
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            model = cls(folder.name, folder, dict(facts))
            _ = model.what, model.recipe, model.parameters, model.bench, model.score
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UnusableModel(
                f"{folder.name} came with the package and cannot be read ({error}): install "
                "regiontok again"
            ) from None
        return model

    @property
    def what(self) -> str:
        """One line about it."""
        return str(self.facts["what"])

    @property
    def recipe(self) -> str:
        """The name of the recipe that it was trained by."""
        return str(self.facts["recipe"]["name"])

    @property
    def parameters(self) -> int:
        """The number of its weights; a frozen encoder's are not among them."""
        return int(self.facts["parameters"])

    @property
    def bench(self) -> str:
        """The spec of the bench that its scores are of."""
        return str(self.facts["accuracy"]["bench"])

    @property
    def scores(self) -> dict[str, float]:
        """Its scores by name, in percent; the first one stands for all."""
        scores = self.facts["accuracy"]["scores"]
        return {str(name): float(score["value"]) for name, score in scores.items()}

    @property
    def score(self) -> float:
        """The score that stands for all."""
        return next(iter(self.scores.values()))

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def shipped_models() -> dict[str, ShippedModel]:
    """The models that came with the package by their names; none in a bare checkout of the code.

    Raises:
        UnusableModel: If one is damaged.
    """
    folders = sorted(path.parent for path in FOLDER.glob(f"*/{FACTS}"))
    return {folder.name: ShippedModel.of(folder) for folder in folders}


def best_model() -> ShippedModel | None:
    """The model that `mini` is: the one with the highest score; None if there is none."""
    return max(shipped_models().values(), key=lambda model: (model.score, model.name), default=None)


def shipped_names() -> list[str]:
    """The names by which shipped models are called, `mini` first; none where there are no models.

    No model is read for them.
    """
    names = sorted(path.parent.name for path in FOLDER.glob(f"*/{FACTS}"))
    return [BEST, *names] if names else []


def shipped_model(name: str) -> ShippedModel | None:
    """The shipped model of a name; None if there is none of it.

    Raises:
        UnusableModel: If it is damaged.
    """
    if name not in shipped_names():
        return None
    return best_model() if name == BEST else ShippedModel.of(FOLDER / name)


def local_folder(name: str | Path) -> Path | None:
    """The folder of a model that is on this machine: a path, or a shipped model's name.

    A folder of that name goes before the shipped model.

    Args:
        name: a folder, a shipped model's name, or a hub name.

    Returns:
        The folder; None for a hub name, and for anything that is no folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    model = shipped_model(str(name))
    return None if model is None else model.folder


def shipped_hint(name: str) -> str:
    """What an error about an unknown model says of the shipped ones; "" for a name with a slash.

    Args:
        name: what was asked for.
    """
    names = shipped_names()
    if not names or "/" in name:
        return ""
    return f"; with the package come {', '.join(names)}{nearest(name, names)}"
