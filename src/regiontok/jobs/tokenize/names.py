"""Names of the files in the folder that `tokenize` writes for an image."""

from __future__ import annotations

import hashlib
import re

TOKENS, REGIONS = ".safetensors", ".regions.json"  # endings of a spec's two files
DRAWING = "regions"  # stem of the picture
VIDEO = "regions-video.webp"  # a clip's frames with their regions, one after the other

_LONGEST = 80
# Specs of these characters keep apart when all others become dashes, but for contrived ones.
_PLAIN = re.compile(r"[A-Za-z0-9_.()|=,' ]*")


def slug(text: str, *, always_plain: bool = False) -> str:
    """A file name for a spec, which follows from the spec alone.

    A spec that other specs could share a name with gets a piece of its hash.

    Args:
        text: the spec.
        always_plain: leave the hash away.

    >>> slug("merge(k=64) | sort('com')")
    'merge-k-64-sort-com'
    >>> slug("merge(-0.5)")
    'merge-0.5~64007873'
    """
    name = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
    if always_plain or (_PLAIN.fullmatch(text) and len(name) <= _LONGEST):
        return name[:_LONGEST] or "patches"
    return f"{name[:_LONGEST]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def spec_names(spec: str) -> tuple[str, str]:
    """The names of a spec's files: its tokens and its regions."""
    return slug(spec) + TOKENS, slug(spec) + REGIONS
