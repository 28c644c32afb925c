"""Which panel stands where in each figure of the diagnostic study, before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

UNTRAINED = (
    "After: RMSNorm without a trained scale, so that every norm is the same by construction; a "
    "trained scale comes with --head. Attention before and after: regiontok compare."
)
TRAINED = "After: RMSNorm with the trained scale of each model. Attention: regiontok compare."


@dataclass(frozen=True)
class Cell:
    """One panel that is to be drawn.

    Attributes:
        kind: "photo", "pca", "norms", "before", "after", "segments", "clusters" or "combined".
        encoder: the index of the encoder.
        picture: the index of the photo.
    """

    kind: str
    encoder: int
    picture: int


@dataclass(frozen=True)
class Plan:
    """A figure before anything is drawn; its fields are those of `regiontok.draw.figure.Figure`."""

    rows: list[list[Cell | None]]
    heads: list[str]
    titles: list[str]
    groups: tuple[str, ...] = ()
    note: str = ""

    def turned(self) -> Plan:
        """The plan with rows and columns swapped; column heads become row titles."""
        pairs = zip(self.groups or [""] * len(self.heads), self.heads, strict=True)
        row_titles = [": ".join(filter(None, pair)) for pair in pairs]
        columns = [list(column) for column in zip(*self.rows, strict=True)]
        return Plan(columns, self.titles, row_titles, note=self.note)


def study2(names: Sequence[str], photos: int) -> Plan:
    """Main figure 2: photos and their regions from segmentation, for OCR and code questions.

    Each photo has a row; regions lie on the grid of the first encoder.
    """
    rows: list[list[Cell | None]] = [
        [Cell("photo", 0, photo), Cell("segments", 0, photo)] for photo in range(photos)
    ]
    return Plan(rows, ["photo", f"segmentation, {names[0].splitlines()[0]}"], [""] * photos)


def study3(names: Sequence[str], photos: int) -> Plan:
    """Main figure 3: columns are encoders; PCA and norms of each photo, one below the other."""
    encoders = range(len(names))
    rows: list[list[Cell | None]] = []
    for photo in range(photos):
        pca = [Cell("pca", encoder, photo) for encoder in encoders]
        norms = [Cell("norms", encoder, photo) for encoder in encoders]
        rows += [[Cell("photo", 0, photo), *pca], [None, *norms]]
    return Plan(rows, ["photo", *names], ["PCA", "norm"] * photos)


def study4(names: Sequence[str], photos: int) -> Plan:
    """Main figure 4: rows are photos; columns are sources of regions, then other encoders.

    The three sources are drawn on the first encoder; of the others the figure shows clusters.
    """
    others = range(1, len(names))
    sources = ("segments", "clusters", "combined")
    rows: list[list[Cell | None]] = [
        [
            Cell("photo", 0, photo),
            *(Cell(source, 0, photo) for source in sources),
            *(Cell("clusters", encoder, photo) for encoder in others),
        ]
        for photo in range(photos)
    ]
    heads = ["photo", "segmentation", "clustering", "combined", *names[1:]]
    left = f"Regions from three sources, {names[0].splitlines()[0]}"
    groups = ("", *[left] * 3, *["Clusters of other encoders"] * len(others))
    return Plan(rows, heads, [""] * photos, groups)


def study7(names: Sequence[str], photos: int) -> Plan:
    """Main figure 7 and the supplement's 2: PCA, regions and norms of all photos, by encoder.

    Columns are encoders at their resolutions.
    """
    titles = {"pca": "PCA", "clusters": "regions", "norms": "norm"}
    rows: list[list[Cell | None]] = [
        [Cell("photo", 0, photo), *(Cell(kind, encoder, photo) for encoder in range(len(names)))]
        for kind in titles
        for photo in range(photos)
    ]
    row_titles = [title for title in titles.values() for _ in range(photos)]
    return Plan(rows, ["photo", *names], row_titles)


def supp1(names: Sequence[str], photos: int) -> Plan:
    """Supplement's figure 1, left: norms in medians, before and after normalisation, by encoder.

    Rows are encoders.
    """
    kinds = ("photo", "before", "after")
    rows: list[list[Cell | None]] = [
        [Cell(kind, encoder, photo) for photo in range(photos) for kind in kinds]
        for encoder in range(len(names))
    ]
    heads = ["photo", "norm before", "norm after"] * photos
    return Plan(rows, heads, list(names))


FIGURES: dict[str, Callable[[Sequence[str], int], Plan]] = {
    "study2": study2,
    "study3": study3,
    "study4": study4,
    "study7": study7,
    "supp1": supp1,
    "supp2": study7,
}
