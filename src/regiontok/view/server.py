"""The application behind the viewer's page: what a page may ask, and how mistakes are told.

Everything is asked for by number. No text of a request becomes a path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.need import need
from regiontok.system.printable import printable
from regiontok.system.strict_json import json_bytes
from regiontok.view.collection import LARGEST, Collection, as_jpeg
from regiontok.view.guard import App, Guard
from regiontok.view.page import index_page, static_files

NAMES = {".js": "text/javascript", ".css": "text/css"}
UNKNOWN = "there is no such thing here; load the page anew"


def application(
    collection: Collection, *, token: str, port: int, talking: Any | None = None
) -> App:
    """The whole application, guarded.

    Args:
        collection: what is shown.
        token: who has it may ask.
        port: the port that the server listens on.
        talking: answers questions about photos (`regiontok.view.talking.Talking`); None for none.

    Raises:
        MissingPackage: If Starlette is not installed.
    """
    applications = need("starlette.applications", extra="view")
    routes = _Routes(collection, talking).routes()
    return Guard(applications.Starlette(routes=routes), token=token, port=port)


class _Routes:
    """The routes; each runs in a thread of its own, so that a long one holds up no other."""

    def __init__(self, collection: Collection, talking: Any | None) -> None:
        self._collection, self._talking = collection, talking
        self._responses = need("starlette.responses", extra="view")
        self._static = static_files()
        self._index = index_page()

    def routes(self) -> list[Any]:
        """All routes."""
        route = need("starlette.routing", extra="view").Route
        item = "/api/items/{item:int}"
        panel, answer = item + "/panels/{panel:int}", item + "/answers/{answer:int}"
        routes = [
            route("/", self._page),
            route("/static/{name}", self._file),
            route("/api/about", self._json(lambda _: self._about())),
            route(item, self._json(lambda ask: self._collection.item(ask("item")))),
            route(item + "/image/{frame:int}", self._jpeg(self._image)),
            route(item + "/thumbnail", self._jpeg(self._thumbnail)),
            route(answer + "/image/{frame:int}", self._jpeg(self._answer_image)),
            route(answer + "/attention", self._json(self._answer_attention)),
            route(item + "/masks/{key}", self._json(self._stored)),
            route(panel, self._json(lambda ask: self._panel(ask))),
            route(panel + "/at/{k:int}", self._json(lambda ask: self._panel(ask, ask("k")))),
            route(panel + "/features", self._array(self._collection.features)),
            route(panel + "/logits", self._array(self._collection.logits)),
            route("/api/classes/{setting:int}", self._json(self._classes)),
        ]
        if self._talking is not None:
            routes.append(route("/api/talk", self._talking.respond, methods=["POST"]))
        return routes

    def _page(self, request: Any) -> Any:
        return self._responses.HTMLResponse(self._index)

    def _file(self, request: Any) -> Any:
        """A file of the package, out of a table that was read at the start."""
        name = request.path_params["name"]
        if name not in self._static:
            return self._mistake(404, UNKNOWN)
        kind = NAMES[name[name.rindex(".") :]]
        return self._responses.Response(self._static[name], media_type=kind)

    def _about(self) -> dict[str, Any]:
        return {**self._collection.about(), "talk": self._talking is not None}

    def _panel(self, ask: Callable[[str], Any], k: int = 64) -> dict[str, Any]:
        if not 1 <= k <= 1 << 20:
            raise ValueError(f"{k} is no number of regions")
        return self._collection.panel(ask("item"), ask("panel"), k=k)

    def _classes(self, ask: Callable[[str], Any]) -> list[str]:
        return self._collection.classes(ask("setting"))

    def _stored(self, ask: Callable[[str], Any]) -> dict[str, Any]:
        return self._collection.stored(ask("item"), ask("key"))

    def _image(self, ask: Callable[[str], Any]) -> bytes:
        return self._collection.image(ask("item"), ask("frame"))

    def _thumbnail(self, ask: Callable[[str], Any]) -> bytes:
        return self._collection.thumbnail(ask("item"))

    def _answer_image(self, ask: Callable[[str], Any]) -> bytes:
        picture: Picture = self._collection.answer_picture(ask("item"), ask("answer"), ask("frame"))
        return as_jpeg(picture, LARGEST)

    def _answer_attention(self, ask: Callable[[str], Any]) -> dict[str, Any]:
        return self._collection.answer_attention(ask("item"), ask("answer"))

    def _json(self, content_of: Callable[[Callable[[str], Any]], Any]) -> Callable[[Any], Any]:
        return self._route(lambda ask: (json_bytes(content_of(ask)), "application/json"))

    def _jpeg(self, content_of: Callable[[Callable[[str], Any]], bytes]) -> Callable[[Any], Any]:
        return self._route(lambda ask: (content_of(ask), "image/jpeg"))

    def _array(self, content_of: Callable[[int, int], np.ndarray]) -> Callable[[Any], Any]:
        return self._route(
            lambda ask: (
                content_of(ask("item"), ask("panel")).tobytes(),
                "application/octet-stream",
            )
        )

    def _route(
        self, content_of: Callable[[Callable[[str], Any]], tuple[bytes, str]]
    ) -> Callable[[Any], Any]:
        """A route whose mistakes are one line, and whose traceback never leaves the process."""

        def respond(request: Any) -> Any:
            try:
                content, kind = content_of(request.path_params.__getitem__)
            except KeyError:
                return self._mistake(404, UNKNOWN)
            except (RegiontokError, ValueError, OSError, ImportError) as error:
                return self._mistake(422, printable(first_line(error)))
            return self._responses.Response(content, media_type=kind)

        return respond

    def _mistake(self, status: int, text: str) -> Any:
        return self._responses.JSONResponse({"error": text}, status_code=status)
