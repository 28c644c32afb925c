"""The hooks of `mkdocs build`: pages that are written from the package, and links that stay whole.

mkdocs calls the functions whose names begin with `on_`. Nothing is written beside the sources: the
pages exist in the built site alone.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import api_pages
import command_line_page
import recipe_pages

ROOT = Path(__file__).parents[2]
# Pages of the repository that the site shows too.
SHOWN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/changelog.md",
    "SECURITY.md": "about/security.md",
    "CODE_OF_CONDUCT.md": "about/code_of_conduct.md",
}
FENCE_WORDS = re.compile(r"^( *```\w+)(?: (?:notest|slow|run))+$", re.MULTILINE)
# The end of a code block and the beginning of the block with what it prints.
PRINTED = re.compile(r"^( *```)\n\n( *)```text\n", re.MULTILINE)
# GitHub wants pipes escaped within the code of a table, Python-Markdown shows the backslash.
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
SPAN = re.compile(r"`[^`]+`")
LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def generated_pages() -> dict[str, str]:
    """Path under `docs/` and Markdown of all pages that are not files."""
    return {
        "reference/command_line.md": command_line_page.page(),
        **api_pages.pages(),
        **recipe_pages.pages(),
        **repository_pages(),
    }


def repository_pages() -> dict[str, str]:
    """Contributing, the changelog and others that stand at the repository's root."""
    return {
        page: with_links((ROOT / name).read_text(encoding="utf-8"), "", page)
        for name, page in SHOWN.items()
        if name != "README.md" and (ROOT / name).is_file()
    }


def with_links(text: str, folder: str, page: str) -> str:
    """Links between files of the repository, as links between pages of the site.

    A link to a file that the site does not show becomes its text.

    Args:
        text: Markdown.
        folder: the folder of the repository that the links are relative to.
        page: path under `docs/` of the page that will hold the text.
    """

    def replaced(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        shown = path.removeprefix("docs/") if path.startswith("docs/") else SHOWN.get(path)
        shown = shown if (ROOT / path).exists() or path.startswith("docs/") else None
        if shown is None:
            return label
        return f"[{label}]({posixpath.relpath(shown, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(replaced, text)


def on_config(config: Any) -> Any:
    """Fill in the parts of the navigation that follow the package."""
    rooms = [f"reference/api/{room}.md" for room in api_pages.rooms_of_the_package()]
    recipes = [page for page in recipe_pages.pages() if not page.endswith("index.md")]
    for entry in config.nav:
        for title, pages in entry.items():
            if title == "Reference":
                _fill(pages, "API", [{f"regiontok.{Path(room).stem}": room} for room in rooms])
                _fill(pages, "Recipes", [{Path(page).stem: page} for page in recipes])
            if title == "About":
                files = {f"about/{path.name}" for path in (ROOT / "docs/about").glob("*.md")}
                listed = {path for each in pages for path in each.values()}
                pages += sorted((files | repository_pages().keys()) - listed)
    return config


def _fill(pages: list[dict[str, Any]], title: str, entries: list[dict[str, str]]) -> None:
    """Append entries to a section of the navigation."""
    next(each[title] for each in pages if title in each).extend(entries)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Take the words for the tests off the fences, and mend links that leave `docs/`."""
    markdown = PRINTED.sub(r"\1\n\n\2```{.text .output .no-copy}\n", markdown)
    markdown = FENCE_WORDS.sub(r"\1", markdown)
    markdown = ROW.sub(_with_plain_pipes, markdown)
    path = page.file.src_uri
    if path in repository_pages():
        return markdown
    return with_links(markdown, posixpath.join("docs", posixpath.dirname(path)), path)


def _with_plain_pipes(row: re.Match[str]) -> str:
    """A table's row with the pipes in its code unescaped."""
    return SPAN.sub(lambda span: span[0].replace("\\|", "|"), row[0])
