"""The reference pages of the recipes, written from the TOML files that the package ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDERS = {
    "quick": "Our own settings for a first look: only a region tokenizer, nothing to train.",
    "train": "Our own small models, to see that training works.",
    "study": "The rows of the tables of *Dissecting Region-Based Representations*. "
    "[Papers: recipes](../../papers/recipes.md) explains how they are named.",
    "og_llava": "The rows of *OG-LLaVA*, and twins of what its released code does. "
    "[OG-LLaVA, paper and release](../../papers/og_llava.md) says where the two differ.",
    "rice": "Pretraining as *RICE* does it, and its ablations. "
    "[Pretrain an encoder](../../how-to/pretrain.md) shows how to run one.",
}
INDEX = """# Recipes

A recipe is one TOML file with everything that is needed to run one setting again. The package ships
those below. `regiontok ls recipes` lists them, `regiontok show NAME` prints one with everything
resolved, and [Papers: recipes](../../papers/recipes.md) says what stands in one and what the names
mean.

| folder | recipes | what they are |
| --- | --- | --- |
"""


def pages() -> dict[str, str]:
    """Path under `docs/` and Markdown of each page: a list of all recipes, and a page a folder."""
    from regiontok.settings.shipped import shipped_recipes

    by_folder: dict[str, dict[str, Path]] = {}
    for name, path in shipped_recipes().items():
        by_folder.setdefault(name.split("/")[0], {})[name] = path
    pages = {
        f"reference/recipes/{folder}.md": _page(folder, files)
        for folder, files in by_folder.items()
    }
    return {"reference/recipes/index.md": _index(by_folder), **pages}


def _index(by_folder: Mapping[str, Mapping[str, Path]]) -> str:
    """What a recipe is, and how many stand in which folder."""
    rows = [
        f"| [`{folder}`]({folder}.md) | {len(files)} | {FOLDERS.get(folder, '')} |"
        for folder, files in by_folder.items()
    ]
    return INDEX + "\n".join(rows) + "\n"


def _page(folder: str, files: Mapping[str, Path]) -> str:
    """All recipes of a folder: what each is, its row, the paper's figures, and its text."""
    parts = [f"# Recipes: {folder}", FOLDERS.get(folder, "")]
    table = ""
    for name, path in files.items():
        recipe = _load(path)
        source = recipe.source
        heading = ", ".join(filter(None, (source.paper, source.table))) if source else ""
        if heading != table:
            parts.append(f"## {heading}")
            table = heading
        parts.append(_recipe(name, recipe, path))
    return "\n\n".join(parts) + "\n"


def _load(path: Path) -> Any:
    from regiontok.settings.recipe import load_recipe

    return load_recipe(path)


def _recipe(name: str, recipe: Any, path: Path) -> str:
    lines = [f"### {name.split('/')[1]} {{#{name.split('/')[1]}}}", "", f"{recipe.what}."]
    row = recipe.source and (recipe.source.row or recipe.source.section)
    if row:
        lines += ["", f"Row of the paper: {row}."]
    if recipe.expect:
        figures = ", ".join(f"`{key}` {value}" for key, value in recipe.expect.items())
        lines += ["", f"The paper's figures, as printed: {figures}."]
    if recipe.corrected:
        figures = ", ".join(f"`{key}` {value}" for key, value in recipe.corrected.items())
        lines += ["", f"Misprints, as other tables of the paper have them: {figures}."]
    text = path.read_text(encoding="utf-8").rstrip()
    shown = "\n".join(f"    {line}".rstrip() for line in f"```toml\n{text}\n```".splitlines())
    lines += ["", f'??? example "{path.name}"', "", shown]
    return "\n".join(lines)
