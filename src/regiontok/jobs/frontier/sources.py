"""The ways to fewer tokens that `regiontok frontier` compares, and what each needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regiontok.system.choices import nearest

GIVEN = "given"  # the segmenter that the command was given
DOWNSAMPLED = "down-sampling"
SEGMENTED = "segments(0.07, resolve='smallest') | cover('rest')"


@dataclass(frozen=True, kw_only=True)
class TokenSource:
    """One way to fewer tokens: region steps, on the masks of a segmenter if they read any.

    Attributes:
        steps: spec with `{k}` in the place of the budget. A last step that merges down to the
            budget is left out where there are fewer regions already.
        segmenter: spec with `{k}` in the place of the budget, `GIVEN`, or "" for none.
        needs_cls_attention: True if it chooses by the attention that CLS pays to each patch.
        has_budget: False if the number of tokens follows from the picture: then there is one point.
    """

    steps: str
    segmenter: str = ""
    needs_cls_attention: bool = False
    has_budget: bool = True


SOURCES = {
    "merge": TokenSource(steps="merge(k={k})"),
    "segments + split + merge": TokenSource(
        steps=f"{SEGMENTED} | split | merge(k={{k}})", segmenter=GIVEN
    ),
    "one token a segment": TokenSource(steps=SEGMENTED, segmenter=GIVEN, has_budget=False),
    "ToMe": TokenSource(steps="tome({k})"),
    "VisionZip-like": TokenSource(steps="visionzip({k})", needs_cls_attention=True),
    "PruMerge-like": TokenSource(steps="prumerge({k})", needs_cls_attention=True),
    "SLIC": TokenSource(steps="segments(0.5) | cover('nearest')", segmenter="slic({k})"),
    "grid pooling": TokenSource(steps="windows({k}, shape='photo')"),
    "stride": TokenSource(steps="stride({k})"),
    "random": TokenSource(steps="random({k})"),
}


def choose_sources(only: Sequence[str] = (), *, cls_attention: bool, can_resize: bool) -> list[str]:
    """The names of the sources that an encoder can serve, in the order of `SOURCES`.

    Args:
        only: the names to choose from; none takes all that the encoder can serve.
        cls_attention: True if the encoder's grids carry the attention of CLS.
        can_resize: True if the encoder can be put on a smaller canvas: then down-sampling is a
            source, too.

    Raises:
        ValueError: If a name is unknown, or needs the attention of CLS and there is none.
    """
    known = [*SOURCES, *([DOWNSAMPLED] if can_resize else [])]
    lacking = {
        name for name, source in SOURCES.items() if source.needs_cls_attention and not cls_attention
    }
    for name in only:
        if name not in known:
            raise ValueError(
                f"unknown source {name!r}{nearest(name, known)}; known: {', '.join(known)}"
            )
        if name in lacking:
            raise ValueError(
                f"{name} chooses by the attention of CLS: say cls_attention=True in the encoder's "
                "spec"
            )
    return [name for name in known if name not in lacking and (not only or name in only)]
