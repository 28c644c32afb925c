"""Readers of text: an image's lines, with where they stand and how sure the reader is of them.

After: RICE, section 3.1 (row R2: PaddleOCR).
Differs: by default rapidocr runs PaddleOCR's models, which come in its package: nothing is
downloaded. Every line is given, whatever its score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.core.picture import Picture
from regiontok.system.errors import RegiontokError, UnusableModel, first_line
from regiontok.system.need import need

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

LEAST_SIDE = 736  # pixels to which a smaller image's shorter edge is enlarged for small text
MOST_SIDE = 960  # pixels to which a larger image's longer edge is reduced otherwise
LONGEST = 2000  # pixels of the longer edge that readers look at, whatever they are told
LEAST_EDGE = 8  # pixels of the shorter edge then, below which nothing can be read


class ReaderError(RegiontokError, ValueError):
    """An image that the reader cannot read; the message says why."""


class WrongPackage(RegiontokError, ImportError):
    """Another package lies under the import name of the reader's; the message names both."""


@dataclass(frozen=True, eq=False)
class TextLines:
    """The lines of text of an image.

    Attributes:
        polygons: `[m 4 2]` float32, (x, y) of the corners in the image's pixels, clockwise from
            where the text begins.
        texts: m texts.
        scores: `[m]` float32, the reader's confidence.
    """

    polygons: Float[np.ndarray, "m 4 2"]
    texts: tuple[str, ...]
    scores: Float[np.ndarray, "m"]

    @classmethod
    def of(cls, polygons: Any, texts: Iterable[str] | None, scores: Any) -> TextLines:
        """Lines from what a reader gives; None where it has found none."""
        words = tuple(texts or ())
        corners = np.zeros((0, 4, 2)) if not words else np.asarray(polygons)
        return cls(
            corners.astype(np.float32).reshape(-1, 4, 2),
            words,
            np.asarray(scores if words else [], np.float32),
        )

    def __len__(self) -> int:
        return len(self.texts)


class TextReader(ABC):
    """Reads the lines of one image at a time, in one thread.

    Args:
        small_text: True enlarges small images before lines are sought.
    """

    def __init__(self, small_text: bool) -> None:
        self.small_text = small_text

    @property
    @abstractmethod
    def identity(self) -> str:
        """The versions that decide what is read.

        Raises:
            MissingPackage: If the reader's package is not installed.
            WrongPackage: If another one lies under its name.
        """

    def __call__(self, picture: Picture) -> TextLines:
        """The lines of an image.

        Raises:
            ReaderError: If it is too long to be read, or the reader fails.
            UnusableModel: If the reader's models cannot be loaded.
        """
        longer, shorter = max(picture.size), min(picture.size)
        if shorter * min(1, LONGEST / longer) < LEAST_EDGE:
            height, width = picture.size
            raise ReaderError(f"{height} x {width} pixels are too long to be read")
        engine = self._loaded
        try:
            return self.lines(engine, np.ascontiguousarray(picture.pixels[:, :, ::-1]))
        except Exception as error:  # OpenCV's and onnxruntime's own errors have no other base
            raise ReaderError(f"the reader fails: {first_line(error)}") from None

    @abstractmethod
    def engine(self) -> Any:
        """The package's own reader, with its models loaded."""

    @abstractmethod
    def lines(self, engine: Any, pixels: UInt8[np.ndarray, "H W 3"]) -> TextLines:
        """The lines of an image whose channels are blue, green, red."""

    @cached_property
    def _loaded(self) -> Any:
        try:
            return self.engine()
        except Exception as error:  # whatever a download or a runtime raises
            raise UnusableModel(f"{self.identity} cannot be loaded: {first_line(error)}") from None

    @property
    def limit(self) -> tuple[str, int]:
        """Which edge is brought to how many pixels before lines are sought.

        The shorter one at least, or the longer one at most.
        """
        return ("min", LEAST_SIDE) if self.small_text else ("max", MOST_SIDE)


class RapidReader(TextReader):
    """rapidocr: PP-OCR's models in its own wheel, run by onnxruntime."""

    @cached_property
    def identity(self) -> str:
        """See `TextReader`."""
        need("rapidocr", extra="curate")
        try:
            version = version_of("rapidocr")
        except PackageNotFoundError:
            version = ""
        if not version or _is_installed("rapidocr-ng"):
            raise WrongPackage(
                "the module rapidocr belongs to rapidocr-ng, whose texts and models are others: "
                "pip uninstall rapidocr-ng, then pip install --force-reinstall 'regiontok[curate]'"
            )
        need("onnxruntime", extra="curate")
        return f"rapidocr {version}, onnxruntime {version_of('onnxruntime')}"

    def lines(self, engine: Any, pixels: UInt8[np.ndarray, "H W 3"]) -> TextLines:
        """See `TextReader`."""
        result = engine(pixels)
        return TextLines.of(result.boxes, result.txts, result.scores)

    def engine(self) -> Any:
        """See `TextReader`."""
        side, pixels = self.limit
        need("cv2", extra="curate").setNumThreads(1)  # it takes all cores, too
        return need("rapidocr", extra="curate").RapidOCR(
            params={
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,  # -1 takes all cores
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                # without it each layer's memory is asked of the system anew: a fifth of the time
                "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
                "Global.text_score": 0.0,  # .5 would drop lines without a word
                "Global.log_level": "critical",
                "Det.limit_type": side,
                "Det.limit_side_len": pixels,
            }
        )


class PaddleReader(TextReader):
    """PaddleOCR 3, which downloads its models when it first runs.

    Written after its documentation and tried against a stand-in with the documented output, not
    against the package.
    """

    @cached_property
    def identity(self) -> str:
        """See `TextReader`."""
        need("paddleocr", extra="curate")
        return f"paddleocr {version_of('paddleocr')}"

    def lines(self, engine: Any, pixels: UInt8[np.ndarray, "H W 3"]) -> TextLines:
        """See `TextReader`."""
        (page,) = engine.predict(pixels)
        return TextLines.of(page["rec_polys"], page["rec_texts"], page["rec_scores"])

    def engine(self) -> Any:
        """See `TextReader`."""
        side, pixels = self.limit
        return need("paddleocr", extra="curate").PaddleOCR(
            use_doc_orientation_classify=False,  # it would turn the page, and boxes with it
            use_doc_unwarping=False,
            use_textline_orientation=True,
            text_det_limit_type=side,
            text_det_limit_side_len=pixels,
            text_rec_score_thresh=0.0,
            cpu_threads=1,
        )


READERS: dict[str, type[TextReader]] = {"rapidocr": RapidReader, "paddleocr": PaddleReader}


@cache
def text_reader(name: str, small_text: bool) -> TextReader:
    """A reader by its name in a plan, built once a process; its models are loaded at first use."""
    return READERS[name](small_text)


def _is_installed(package: str) -> bool:
    try:
        version_of(package)
    except PackageNotFoundError:
        return False
    return True
