"""`regiontok tokenize` over tars: the tokens of all images of a tar in one file.

OUT/NAME.tokens.parquet     the tokens of a tar's images, merged of its pieces
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from regiontok.core.picture import Picture, PictureError
from regiontok.curate.sources import ImageIndex
from regiontok.curate.stage_files import Stage, write_piece
from regiontok.curate.steps import PieceStep
from regiontok.curate.tars import Curation, Piece
from regiontok.curate.threads import one_thread
from regiontok.jobs.tars.job import TarJob
from regiontok.jobs.tokenize.made_by import VERSION, made_by
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.shards.token_sidecar import FORM, GROUP, NAME, ImageTokens, token_schema
from regiontok.system.errors import UnusableModel, first_line


@dataclass(frozen=True)
class TokenPlan:
    """How images become tokens.

    Attributes:
        settings: the settings of the tokenizer, as the JSON that processes get.
        regions: region spec; "" takes the settings' own, or the encoder's clustering.
        device: where the encoder and the heads run.
        batch: images that are encoded together.
    """

    settings: str
    regions: str = ""
    device: str = "cpu"
    batch: int = 8

    @property
    def tokenizer(self) -> TokenizerSet:
        """The tokenizer, built once a process.

        Raises:
            ValueError: If a spec cannot be built.
        """
        return _tokenizer(self)


@lru_cache(maxsize=1)
def _tokenizer(plan: TokenPlan) -> TokenizerSet:
    settings = TokenizerSettings.model_validate_json(plan.settings)
    return TokenizerSet(settings, [plan.regions] if plan.regions else [], device=plan.device)


def tokens_job(curation: Curation, plan: TokenPlan) -> TarJob:
    """The tokens of the images of tars.

    Raises:
        ValueError: If a spec of the plan cannot be built.
    """
    work, gpus = TokensPiece(curation, plan), float(plan.device != "cpu")
    return TarJob(curation, (PieceStep(tokens_stage(curation, plan), curation, work, gpus=gpus),))


def tokens_stage(curation: Curation, plan: TokenPlan) -> Stage:
    """The stage, of a plan's settings; the device and the batch are none of them."""
    (tokenizer,) = plan.tokenizer.tokenizers
    made = {name: value for name, value in made_by(tokenizer).items() if name != VERSION}
    return Stage(NAME, FORM, made, curation.hash, token_schema(), GROUP)


@dataclass(frozen=True)
class TokensPiece:
    """Writes the tokens of a piece's images; worker processes get it.

    Attributes:
        curation: the tars.
        plan: how images become tokens.
    """

    curation: Curation
    plan: TokenPlan

    def __call__(self, piece: Piece) -> None:
        """Tokenize every image of a piece.

        Raises:
            ShardError: If its tar is missing or damaged.
            UnusableModel: If a model cannot be loaded.
        """
        start, index = time.perf_counter(), self.curation.index(piece.tar)
        rows = []
        with one_thread():
            for first in range(piece.start, piece.stop, self.plan.batch):
                stop = min(first + self.plan.batch, piece.stop)
                numbers = range(first, stop)
                rows += [image.row() for image in self._images(index, numbers)]
        rows.sort(key=lambda row: row["index"])
        stage = tokens_stage(self.curation, self.plan)
        write_piece(stage, self.curation.out, piece, rows, time.perf_counter() - start)

    def _images(self, index: ImageIndex, numbers: Sequence[int]) -> Iterator[ImageTokens]:
        """Some images, in any order."""
        pictures: dict[int, Picture] = {}
        for number in numbers:
            key = index.key(number)
            try:
                pictures[number] = Picture.of(index.read(number), key)
            except PictureError as error:
                yield ImageTokens(number, key, (0, 0), None, f"corrupt: {error}")
        yield from self._tokenized(index, pictures)

    def _tokenized(self, index: ImageIndex, pictures: dict[int, Picture]) -> Iterator[ImageTokens]:
        """The tokens of some pictures; one that spoils its batch is found by doing them singly."""
        if not pictures:
            return
        try:
            (result,) = self.plan.tokenizer.run(list(pictures.values()))
        except UnusableModel:
            raise
        except (ValueError, RuntimeError, MemoryError) as error:
            if len(pictures) == 1:
                ((number, picture),) = pictures.items()
                reason = f"not tokenized: {first_line(error)}"
                yield ImageTokens(number, index.key(number), picture.size, None, reason)
                return
            for number, picture in pictures.items():
                yield from self._tokenized(index, {number: picture})
            return
        for place, (number, picture) in enumerate(pictures.items()):
            tokens = result.run.tokens[place].to("cpu")
            yield ImageTokens(number, index.key(number), picture.size, tokens)
