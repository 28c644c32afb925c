"""How near a reply's table, chart or document comes to the right one, by tree edit distance.

After: TEDS of Zhong, ShafieiBavani and Jimeno Yepes, Image-based table recognition, 2020; STEDS and
the readings of Markdown and of charts are those of OCRBench v2, eval_scripts/TEDS_metric.py at
commit 794c36d.
Differs: what the published script cannot parse, and ends at, is worth 0.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from regiontok.evaluation.words import edit_distance
from regiontok.system.need import need

_FENCED = re.compile(r"```(?:python|json)?\n(.*?)\n```", re.DOTALL | re.IGNORECASE)
_ASSIGNMENT = re.compile(r"^\s*\w+\s*=\s*")
_COMMENT = re.compile(r"#.*")
_FENCE_LETTERS = "`markdown"  # stripped from both ends of a Markdown table, as they are there
# what a line of a document is rid of, one after the other, and what stands there instead
_CLEANED = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"<bos>|<eos>|<pad>|<unk>", ""),
        (r"\s##(\S)", r"\1"),
        (r"\\\s", r"\\"),
        (r"\s\*\s\*\s", "**"),
        (r"{\s", "{"),
        (r"\s}", "}"),
        (r"\s}", "}"),
        (r"\\begin\s", r"\\begin"),
        (r"\\end\s", r"\\end"),
        (r"\\end{table}", r"\\end{table} \n\n"),
        (r"[\n*_]", " "),
    )
)


@dataclass(eq=False)
class Node:
    """A node of a tree that is compared.

    Attributes:
        name: the tag and the spans of an element, or the text of a line.
        content: what stands in a table's cell, as letters and tags; None elsewhere.
        children: the nodes below, in their order.
    """

    name: tuple[Any, ...]
    content: tuple[str, ...] | None = None
    children: list[Node] = field(default_factory=list)

    def count(self) -> int:
        """The number of nodes, this one and all below."""
        return 1 + sum(child.count() for child in self.children)

    def first(self, name: tuple[Any, ...]) -> Node | None:
        """The first node of a name: this one, or the first below in reading order."""
        if self.name == name:
            return self
        return next(filter(None, (child.first(name) for child in self.children)), None)


class _TableCosts:
    """Costs of edits of a table: 1, but cells are renamed by how far their contents differ."""

    valuecls = int  # of what `apted` starts its sums

    def delete(self, node: Node) -> float:
        return 1.0

    insert = delete

    def rename(self, old: Node, new: Node) -> float:
        if old.name != new.name:
            return 1.0
        return _content_distance(old.content, new.content) if old.content or new.content else 0.0

    def children(self, node: Node) -> list[Node]:
        return node.children


class _DocumentCosts(_TableCosts):
    """Costs of edits of a document: any line may stand for any other, if neither is blank."""

    def rename(self, old: Node, new: Node) -> float:
        return float(not old.name[0].split() or not new.name[0].split())


@lru_cache(maxsize=65536)
def _content_distance(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> float:
    old, new = old or (), new or ()
    return edit_distance(old, new) / max(len(old), len(new))


def table_likeness(reply: str, answer: str) -> float:
    """TEDS of two tables, each a page of HTML: 1 less the edit distance over the larger's elements.

    Returns:
        A number up to 1; 0 where either has no table, or is no HTML.

    Raises:
        MissingPackage: If the extra `ocr` is not installed.
    """
    html, apted = need("lxml.html", extra="ocr"), need("apted", extra="ocr")
    lxml_error = need("lxml.etree", extra="ocr").LxmlError
    if not reply or not answer:
        return 0.0
    try:
        parser = html.HTMLParser(remove_comments=True, encoding="utf-8")
        pages = [html.fromstring(text, parser=parser) for text in (reply, answer)]
        tables = [page.xpath("body/table") for page in pages]
        if not all(tables):
            return 0.0
        elements = max(len(matches[0].xpath(".//*")) for matches in tables)
        trees = [_table_tree(matches[0]) for matches in tables]
        distance = apted.APTED(*trees, _TableCosts()).compute_edit_distance()
        return 1 - distance / elements
    except (ValueError, ArithmeticError, RecursionError, lxml_error):
        return 0.0


def _table_tree(element: Any) -> Node:
    if element.tag != "td":
        return Node((element.tag, None, None), None, [_table_tree(below) for below in element])
    spans = (int(element.get(name, "1")) for name in ("colspan", "rowspan"))
    return Node((element.tag, *spans), tuple(_tokens(element)[1:-1]))


def _tokens(element: Any) -> list[str]:
    """The letters and tags of an element; what follows it, too, if it is no cell."""
    tokens = [f"<{element.tag}>", *(element.text or "")]
    for below in element:
        tokens += _tokens(below)
    if element.tag != "unk":
        tokens.append(f"</{element.tag}>")
    return tokens if element.tag == "td" else tokens + list(element.tail or "")


def html_likeness(reply: str, answer: str) -> float:
    """TEDS of the table in a reply, from its first `<body` or `<table` on, and the right one."""
    reply = reply.replace("\n", "")
    for start in ("<body", "<table"):
        if start in reply:
            return table_likeness(_page(reply[reply.index(start) :]), _page(answer))
    return 0.0


def _page(table: str) -> str:
    """A table as a page of HTML, with the tags that it lacks."""
    table = table.replace("\n", "")
    if "<table" not in table:
        table = f"<table>{table}"
    if "</table>" not in table:
        table = f"{table}</table>"
    if "<body>" not in table:
        table = f"<body>{table}</body>"
    return table if "<html>" in table else f"<html>{table}</html>"


def markdown_likeness(reply: str, answer: str) -> float:
    """TEDS of two tables in Markdown, whose second line is the rule below the head."""
    return table_likeness(_markdown_page(reply), _markdown_page(answer))


def _markdown_page(text: str) -> str:
    lines = text.strip(_FENCE_LETTERS).strip("`").strip().split("\n")
    rows = [line.strip().split("|")[1:-1] for line in lines[:1] + lines[2:]]
    return _table_page([[cell.strip() if set(cell) != {" "} else " " for cell in r] for r in rows])


def _table_page(rows: Sequence[Sequence[str]]) -> str:
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<html><body><table>{table}</table></body></html>".replace("\n", "")


def chart_likeness(reply: str, answer: str) -> float:
    """TEDS of two charts, each a Python dictionary in words: a row a key, with all below it.

    Returns:
        A number up to 1; NaN if the right chart is a dictionary neither of Python nor of JSON.

    Raises:
        MissingPackage: If the extra `ocr` is not installed.

    >>> chart_likeness("no chart", "{'title': 'Sales'}")
    0.0
    """
    said, right = _chart(reply), _read(answer, ast.literal_eval) or _read(answer, json.loads)
    if not right:
        return float("nan")
    return table_likeness(_chart_page(said), _chart_page(right)) if said else 0.0


def _chart(reply: str) -> dict[Any, Any]:
    """The dictionary of a reply, the longest of those in fences; empty if it cannot be read."""
    content = max(_FENCED.findall(reply), key=len, default=reply).strip()
    content = _COMMENT.sub("", _ASSIGNMENT.sub("", content, count=1))
    return _read(content[: content.rfind("}") + 1 or None], ast.literal_eval)


def _read(text: str, parse: Callable[[str], Any]) -> dict[Any, Any]:
    try:
        chart = parse(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return chart if isinstance(chart, dict) else {}


def _chart_page(chart: Mapping[Any, Any]) -> str:
    rows = (
        f"  <tr><td>{key}</td><td>{' '.join(str(value))}</td></tr>\n"
        for key, value in chart.items()
    )
    return f"<html><body><table>\n{''.join(rows)}</table></body></html>"


def document_likeness(reply: str, answer: str) -> float:
    """STEDS of two documents in Markdown: how many lines stand under as many titles.

    Raises:
        MissingPackage: If the extra `ocr` is not installed.
    """
    apted = need("apted", extra="ocr")
    try:
        trees = [_document_tree(text) for text in (reply, answer)]
        distance = apted.APTED(*trees, _DocumentCosts()).compute_edit_distance()
    except RecursionError:
        return 0.0
    return float(1 - distance / max(tree.count() for tree in trees))


def _document_tree(text: str) -> Node:
    """The lines of a document under their titles, and those before any under an empty one."""
    above = Node(("TITLE",))
    root = Node(("ROOT",), children=[above])
    for line in text.split("\n"):
        for pattern, new in _CLEANED:
            line = pattern.sub(new, line)
        if line.startswith("#"):
            title = line.replace("#", "")
            root.children.append(Node((title,)))
            above = (root.first((title,)) if title else None) or root.children[0]
        else:
            above.children.append(Node((line,)))
    return root
