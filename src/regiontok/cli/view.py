"""`regiontok view`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regiontok.cli import completion
from regiontok.cli.options import (
    ChatTemplate,
    Cut,
    Device,
    Encoders,
    Humans,
    Overwrite,
    RegionSpecs,
    Segmenter,
    Tiles,
)
from regiontok.cli.terminal import clear_errors, closing_json, look_at, say, warn

if TYPE_CHECKING:
    from regiontok.view.collection import Collection


def view(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Photos, clips, folders of photos, folders that tokenize wrote, mask stores, "
            "runs of train, pretrain or answer."
        ),
    ],
    encoder: Encoders = None,
    regions: RegionSpecs = None,
    transforms: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=completion.methods("transform"),
            help="Transforms of the features, such as fill_outliers; none leaves them as they are, "
            "so that both stand side by side.",
        ),
    ] = None,
    segmenter: Segmenter = "",
    tiles: Tiles = "",
    cut: Cut = "stitched",
    pool: Annotated[
        str, typer.Option(help="How a region becomes tokens: mean, attend or select.")
    ] = "mean",
    humans: Humans = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a benchmark, for the pictures of answers."),
    ] = None,
    clip: Annotated[
        bool, typer.Option("--clip", help="Take every folder as the frames of one clip.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Clips: frames a second to take. Without it, all.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Talk about photos with this model: its folder, its hub name, or mini or another "
            "name of `regiontok ls models`."
        ),
    ] = "",
    template: ChatTemplate = "",
    html: Annotated[
        Path | None,
        typer.Option(help="Write the page as one file that needs no server, and stop."),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(help="Put features into the file: a click then colours regions by cosine."),
    ] = True,
    overwrite: Overwrite = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    device: Device = "cpu",
) -> None:
    """Look at region tokens in a browser, and move them: the whole merge tree is on a slider.

    The server listens on this machine alone, opens nothing but what is named here, and answers only
    by the address that it prints. Specs given several times stand side by side; {k} in a spec is
    the slider's number of regions.

    Examples:

    `regiontok view photo.jpg`

    `regiontok view photos/ --regions "merge(0.5)" --regions "tome({k})" --humans groundTruth/`

    `regiontok view photo.jpg --encoder dinov2-l --transforms none --transforms fill_outliers`

    `regiontok view out/ answers/pope/clip run/`

    `regiontok view photo.jpg --html figure.html`
    """
    with clear_errors():
        from regiontok.view.collection import Collection
        from regiontok.view.library import Library
        from regiontok.view.panels import PanelMaker
        from regiontok.view.settings import settings_of

        if html is not None and model:
            raise ValueError("--html writes a page without a server, and --model needs one")
        library = Library(paths, clips=clip, note=warn)
        settings = settings_of(
            encoder or (), regions or (), transforms or (), segmenter, tiles=tiles, cut=cut
        )
        maker = PanelMaker(settings, pool=pool, device=device)
        collection = Collection(library, maker, humans=humans, data=tuple(data or ()), fps=fps)
        if html is not None:
            _write(collection, html, features=features, overwrite=overwrite)
            return
        _serve(collection, port, model, template, device, browser)


def _serve(
    collection: Collection, port: int, model: str, template: str, device: str, browser: bool
) -> None:
    """Serve until Ctrl-C, and say where."""
    from regiontok.view.serve import serve

    talking = None
    if model:
        from regiontok.view.talking import Talking

        talking = Talking.open(collection, model, template=template, device=device)

    def ready(address: str) -> None:
        say(f"{len(collection.library.items)} to look at; open {address}", style="bold")
        say("on this machine alone, until Ctrl-C")
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(collection, port=port, talking=talking, ready=ready)


def _write(collection: Collection, path: Path, *, features: bool, overwrite: bool) -> None:
    """Write the page as one file."""
    from regiontok.cli.progress import counting
    from regiontok.system.files import replacing
    from regiontok.system.writing import clear_write_errors
    from regiontok.view.page import whole_page

    if path.exists() and not overwrite:
        raise ValueError(f"{path} is there already: choose another name, or say --overwrite")
    items = len(collection.library.items)
    with counting("items", items) as tick:
        page = whole_page(
            collection, title=f"{path.stem} · regiontok", features=features, tick=tick
        )
    with clear_write_errors(path), replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    look_at(path)
    closing_json(
        {"command": "view", "items": items, "html": str(path), "bytes": path.stat().st_size}
    )
