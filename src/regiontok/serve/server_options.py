"""What a server of regions may be told by `mm_processor_kwargs`: at its start, and by a request.

After: vLLM's `mm_processor_kwargs`.
Differs: vLLM ignores a name that it does not know; here it is an error that lists those it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError


class UnknownOption(RegiontokError, ValueError):
    """A server or a request names an option that does not exist, or gives it no text."""


@dataclass(frozen=True)
class Options:
    """Options of one kind.

    Attributes:
        names: their names.
        place: where they are given, for messages.
    """

    names: tuple[str, ...]
    place: str

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuse what is no such option.

        Raises:
            UnknownOption: If a name is unknown, or a value is no text.

        >>> SERVER_OPTIONS.check({"regions": "merge(0.7)"})
        >>> REQUEST_OPTIONS.check({"region": "merge(0.7)"})
        Traceback (most recent call last):
        ...
        regiontok.serve.server_options.UnknownOption: the mm_processor_kwargs of a request have no
        'region' (did you mean 'regions'?); they are: regions
        """
        for name, value in given.items():
            if name not in self.names:
                raise UnknownOption(
                    f"{self.place} have no {name!r}{nearest(name, self.names)}; they are: "
                    f"{', '.join(self.names)}"
                )
            if not isinstance(value, str):
                raise UnknownOption(f"{self.place}: {name} is a text, not {type(value).__name__}")


SERVER_OPTIONS = Options(("regions", "segmenter", "device"), "the mm_processor_kwargs of a server")
REQUEST_OPTIONS = Options(("regions",), "the mm_processor_kwargs of a request")


def requested_regions(given: Mapping[str, Any], of_server: Mapping[str, Any]) -> str | None:
    """The steps that a request asks for; None if it asks for none.

    Args:
        given: what came with a request, the server's own perhaps among it.
        of_server: what the server was started with.

    Raises:
        UnknownOption: If a request names another option than `regions`.

    >>> requested_regions({"regions": "merge(k=9)", "device": "cpu"}, {"device": "cpu"})
    'merge(k=9)'
    """
    own = {name: value for name, value in given.items() if of_server.get(name) != value}
    REQUEST_OPTIONS.check(own)
    return own.get("regions")
