"""The viewer's page: its files, its frame for the server, and the whole of it in one HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from regiontok.core.clip import Clip
from regiontok.system.errors import RegiontokError
from regiontok.system.printable import printable
from regiontok.system.strict_json import strict_json
from regiontok.view.collection import Collection, as_jpeg

ENTRY, STYLE, SHELL = "app.js", "style.css", "shell.html"
_IMPORT = re.compile(r'^import\s[^;]*?from\s+"\./([\w.]+)";\n', re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export\s+(?=async function|function|class|const|let)", re.MULTILINE)
EMBEDDED_BUDGETS = (8, 16, 32, 64, 128, 256)  # of settings that follow the slider by `{k}`
ANSWER_PICTURE = 640  # pixels of the longer side of a picture that a run was asked about
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src data:"
)


def static_files() -> dict[str, bytes]:
    """The scripts and the style of the package, by name."""
    folder = files("regiontok.view").joinpath("static")
    names = sorted(file.name for file in folder.iterdir())
    return {
        name: folder.joinpath(name).read_bytes() for name in names if not name.endswith(".html")
    }


def index_page() -> str:
    """The page as the server sends it: it loads its scripts and asks for the rest."""
    head = f'<link rel="stylesheet" href="/static/{STYLE}">'
    script = f'<script type="module" src="/static/{ENTRY}"></script>'
    return _shell("regiontok view", head, script)


def whole_page(
    collection: Collection,
    *,
    title: str,
    features: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> str:
    """The page in one file, with all that it would ask for; it needs no server and no network.

    Args:
        collection: what is shown; all of it is computed now.
        title: the page's title.
        features: also embed the features of photos, by which a click colours regions: 2 bytes a
            number.
        tick: is called after each item.

    Raises:
        ValueError: If an item cannot be made.
    """
    content = strict_json(_answers(collection, features=features, tick=tick), ensure_ascii=True)
    content = content.replace("<", "\\u003c")  # nothing in it ends the script
    sources = {name: data.decode() for name, data in static_files().items()}
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<style>\n{sources[STYLE]}</style>"
    )
    script = (
        f'<script type="application/json" id="answers">{content}</script>\n'
        f'<script type="module">\n{bundled(sources)}</script>'
    )
    return _shell(title, head, script)


def bundled(sources: dict[str, str], entry: str = ENTRY) -> str:
    """All modules that an entry imports, and the entry, as one script.

    Modules of the viewer share one space of names, and import by name only, so that leaving out
    imports and the word `export` joins them.

    >>> entry = 'import { b } from "./b.js";\\nb();\\n'
    >>> print(bundled({"a.js": entry, "b.js": "export function b() {}\\n"}, "a.js"))
    function b() {}
    b();
    <BLANKLINE>
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        for other in _IMPORT.findall(sources[name]):
            if other not in done:
                add(other)
        done[name] = _EXPORT.sub("", _IMPORT.sub("", sources[name]))

    add(entry)
    return "".join(done.values())


def _answers(collection: Collection, *, features: bool, tick: Callable[[], None]) -> dict[str, Any]:
    """What the server would answer, by the path that the page asks for."""
    answers: dict[str, Any] = {"about": {**collection.about(), "talk": False}}
    for item in collection.library.items:
        path = f"items/{item.number}"
        try:
            content = collection.item(item.number)
            answers[path] = content
            if item.kind in ("photo", "clip", "output") and "missing" not in content:
                answers |= _pictures(collection, item.number, path)
            if item.kind == "answers":
                answers |= _looked(collection, item.number, path, content["answers"])
            for panel in range(len(content.get("panels", ()))):
                answers |= _panel(collection, item.number, panel, features=features)
        except (RegiontokError, ValueError, OSError, KeyError) as error:
            answers[path] = {"error": printable(str(error))}
        tick()
    for setting in range(len(collection.maker.settings)):
        answers[f"classes/{setting}"] = collection.classes(setting)
    return answers


def _pictures(collection: Collection, number: int, path: str) -> dict[str, Any]:
    seen = collection.seen(number)
    frames = len(seen) if isinstance(seen, Clip) else 1
    uris = {
        f"{path}/image/{frame}": _data_uri(collection.image(number, frame, longest=1280))
        for frame in range(frames)
    }
    return uris | {f"{path}/thumbnail": _data_uri(collection.thumbnail(number))}


def _looked(
    collection: Collection, number: int, path: str, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the words of a run's answers looked at, and their pictures, each of them once."""
    answers: dict[str, Any] = {}
    first: dict[str, str] = {}  # where each picture stands, by its key
    for place, row in enumerate(rows):
        own = f"{path}/answers/{place}"
        pictures = 1
        if row["attended"]:
            answers[f"{own}/attention"] = collection.answer_attention(number, place)
            pictures = max(1, len(answers[f"{own}/attention"]["pictures"]))
        for which in range(pictures if row["pictured"] else 0):
            name = f"{own}/image/{which}"
            try:
                picture = collection.answer_picture(number, place, which)
            except (ValueError, OSError, KeyError):  # the page shows the answer without it
                continue
            if picture.key in first:
                answers[name] = {"same": first[picture.key]}
            else:
                first[picture.key] = name
                answers[name] = _data_uri(as_jpeg(picture, ANSWER_PICTURE))
    return answers


def _panel(collection: Collection, number: int, panel: int, *, features: bool) -> dict[str, Any]:
    path = f"items/{number}/panels/{panel}"
    content = collection.panel(number, panel)
    answers: dict[str, Any] = {path: content}
    if content["follows"]:
        for k in EMBEDDED_BUDGETS:
            try:
                answers[f"{path}/at/{k}"] = collection.panel(number, panel, k=k)
            except ValueError as error:
                answers[f"{path}/at/{k}"] = {"error": printable(str(error))}
    if features and collection.library.item(number).kind == "photo":
        answers[f"{path}/features"] = _text(collection.features(number, panel).tobytes())
        if content["classes"]:
            answers[f"{path}/logits"] = _text(collection.logits(number, panel).tobytes())
    return answers


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{_text(jpeg)}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _shell(title: str, head: str, script: str) -> str:
    text = files("regiontok.view").joinpath("static", SHELL).read_text(encoding="utf-8")
    return Template(text).substitute(title=escape(title), head=head, script=script)
