"""The viewer's server: on this machine alone, by an address with a token in it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from regiontok.system.errors import RegiontokError
from regiontok.system.need import need
from regiontok.view.collection import Collection
from regiontok.view.server import application

LOOPBACK = "127.0.0.1"
SHUTDOWN = 2  # seconds that open requests get when the server ends


class PortInUse(RegiontokError, OSError):
    """Another program listens on the port; the message says how to choose another one."""


def serve(
    collection: Collection,
    *,
    port: int = 8765,
    talking: Any | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        collection: what is shown.
        port: the port; 0 takes a free one.
        talking: answers questions about photos; None for none.
        ready: is called with the address once a browser can open it.

    Raises:
        MissingPackage: If uvicorn or Starlette is not installed.
        PortInUse: If another program has the port.
    """
    uvicorn = need("uvicorn", extra="view")
    with _listening(port) as listener:
        own_port = listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = application(collection, token=token, port=own_port, talking=talking)
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,  # it would print addresses, and with them the token
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN,
        )
        ready(f"http://{LOOPBACK}:{own_port}/?token={token}")
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket on the loopback interface and on no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen()  # a browser may come before uvicorn is ready, and waits
        except OSError as error:
            raise PortInUse(
                f"port {port} cannot be had ({error.strerror}): choose another one with --port, "
                "or --port 0 for a free one"
            ) from None
        yield listener
