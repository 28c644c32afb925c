"""Print what the models that come with the package get right, as a table in Markdown.

    python tools/shipped_table.py

The figures are those of each model's `shipped.json`; a test holds the table of
docs/how-to/shipped_models.md against them.
"""

from __future__ import annotations

from regiontok.miniworld.kinds.catalogue import KINDS
from regiontok.miniworld.kinds.twins import KIND as TWINS
from regiontok.system.shipped_models import ShippedModel, shipped_models

BENCH = "miniworld"
PAIRS = f"{TWINS}_pairs"


def main() -> None:
    """Print the table."""
    print("\n".join(table_lines()))


def table_lines() -> list[str]:
    """The lines of the table: kinds of questions below each other, models side by side."""
    models = shipped_models()
    chance = next(iter(models.values())).facts["accuracy"]["baselines"]["chance"]
    head = ["kind", "chance", *(f"`{name}`" for name in models)]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for name, title in _titles().items():
        cells = [f"{chance[name]:.1f}" if name in chance else ""]
        lines.append(_line([title, *cells, *(_cell(model, name) for model in models.values())]))
    return lines


def _titles() -> dict[str, str]:
    """The scores of the table, and what they are called there."""
    kinds = {f"{BENCH}_{kind}": f"`{kind}`" for kind in (*KINDS, TWINS)}
    return {BENCH: "all kinds", **kinds, f"{BENCH}_{PAIRS}": "both of two twins"}


def _cell(model: ShippedModel, name: str) -> str:
    """A score with half of its interval."""
    score = model.facts["accuracy"]["scores"][name]
    return f"{score['value']:.1f} ± {(score['high'] - score['low']) / 2:.1f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
