"""The reference pages of the Python interface: one page a room, filled by mkdocstrings."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "regiontok"
WITHOUT_PAGE = {"cli", "recipes"}  # the command line and the recipes have pages of their own
PUBLIC = """# The public names

`import regiontok` gives these names, and importing the package loads neither torch nor
transformers: a name comes in when it is used. They are what we promise to keep
([what is public](../about/public.md)). The pages beside this one document every room of the
package, for those who read on or write a method of their own; a room's other names may change.

| name | what it is |
| --- | --- |
"""


def pages() -> dict[str, str]:
    """Path under `docs/` and Markdown of each page, the public names first."""
    rooms = {f"reference/api/{room}.md": _room_page(room) for room in rooms_of_the_package()}
    return {"reference/index.md": _public_page(), **rooms}


def rooms_of_the_package() -> list[str]:
    """The folders and modules under the package that have a page, in alphabetical order."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_")}
    return sorted((folders | modules) - WITHOUT_PAGE)


def _public_page() -> str:
    """A table of what `regiontok.__all__` names."""
    import regiontok

    rows = []
    for name in sorted(set(regiontok.__all__) - {"__version__"}, key=str.lower):
        module = _module_of(name)
        room = module.split(".")[1]
        docstring = _docstring(module, name) or ""
        summary = " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| [`{name}`](api/{room}.md#{module}.{name}) | {summary} |")
    return PUBLIC + "\n".join(rows) + "\n"


def _module_of(name: str) -> str:
    """The module that defines a public name, read from the package's own source."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("regiontok."):
            names = {alias.asname or alias.name for alias in node.names}
            if name in names:
                return str(node.module)
    raise LookupError(f"src/regiontok/__init__.py names {name!r}, but imports it from nowhere")


def _docstring(module: str, name: str) -> str | None:
    for node in ast.walk(ast.parse(_file_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node)
    return None


def _file_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _room_page(room: str) -> str:
    """All public modules of a room, each with its public names."""
    path = PACKAGE / room
    if not path.is_dir():
        options = "    options:\n      show_root_heading: false\n"
        return f"# regiontok.{room}\n\n::: regiontok.{room}\n{options}"
    docstring = ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8")))
    parts = [f"# regiontok.{room}", docstring or ""]
    for module in sorted(path.rglob("*.py")):
        words = module.relative_to(PACKAGE).with_suffix("").parts
        if not any(word.startswith("_") for word in words):
            name = ".".join(("regiontok", *words))
            own_name = ".".join(words[1:])
            parts.append(f"::: {name}\n    options:\n      heading: {own_name}")
    return "\n\n".join(parts) + "\n"
