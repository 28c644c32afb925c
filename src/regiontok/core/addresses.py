"""The bytes of a picture that is named by an address: `data:`, `http:` or `https:`.

They are fetched and decoded from base64 here, and nothing more: what they hold is for
`regiontok.core.picture` to say, as for a file.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import urllib.error
import urllib.parse
import urllib.request

from regiontok.core.formats import MAX_BYTES, PictureError

SCHEMES = ("data:", "http://", "https://")
SHOWN = 60  # characters of an address, or of a text that is none, in names and messages
_SECONDS = 30.0
_AGENT = "regiontok"  # some servers refuse Python's own name


def is_address(source: object) -> bool:
    """True for a text that begins as an address does, in capitals or not.

    >>> is_address("DATA:,x"), is_address("photos/data.png")
    (True, False)
    """
    return isinstance(source, str) and source[:8].lower().startswith(SCHEMES)


def bytes_at(address: str) -> bytes:
    """The bytes that an address holds, or leads to.

    Raises:
        PictureError: If it cannot be read, leads nowhere, or leads to more bytes than a picture
            may have.

    >>> bytes_at("data:text/plain;base64,aGk="), bytes_at("data:,hi%21")
    (b'hi', b'hi!')
    """
    if address[:5].lower() == "data:":
        head, comma, body = address[5:].partition(",")
        if not comma:
            raise PictureError(f"{address[:SHOWN]}: a data: address without a comma")
        if head.lower().rstrip().endswith(";base64"):
            return bytes_of_base64(urllib.parse.unquote(body))
        return urllib.parse.unquote_to_bytes(body)
    return _fetched(address)


def bytes_of_base64(text: str | bytes) -> bytes:
    """The bytes that a text in base64 stands for; both alphabets, line breaks and no padding do.

    Raises:
        PictureError: If it is no base64.

    >>> bytes_of_base64("_-8") == bytes_of_base64(b"/+8=\\n")
    True
    """
    try:
        characters = text.encode("ascii") if isinstance(text, str) else bytes(text)
        compact = b"".join(characters.split()).translate(bytes.maketrans(b"-_", b"+/"))
        padding = b"=" * (-len(compact.rstrip(b"=")) % 4)
        return base64.b64decode(compact.rstrip(b"=") + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        shown = text[:20]
        raise PictureError(
            f"a picture's base64 text cannot be read ({error}); it begins {shown!r}"
        ) from None


def _fetched(address: str) -> bytes:
    name = address[:SHOWN]
    try:
        request = urllib.request.Request(address, headers={"User-Agent": _AGENT})
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        # URLError and timeouts are OSErrors; a malformed address is a ValueError
        raise PictureError(f"{name}: cannot be fetched ({error})") from None
    if len(data) > MAX_BYTES:
        raise PictureError(f"{name}: more than the {MAX_BYTES // 2**20} MiB an image may have")
    return data
