"""`regiontok check --weights`: do checkpoints on this machine give the numbers that were published
for them?

CLIP, DINOv2 and SigLIP2 go through regiontok's own encoders (decoding, framing, prefix tokens,
grid), whose features the checkpoint's own heads then take to the published output; SAM 2.1 goes
through the segmenter's own reading and image encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, ImageDraw
from rich.table import Table
from torch import Tensor

from regiontok.core.picture import Picture
from regiontok.jobs.check.slices import SLICES, Case, Photo
from regiontok.segment.prompted.promptable import Promptable
from regiontok.system.errors import first_line
from regiontok.system.hub import availability, cached_folder
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, quiet_transformers
from regiontok.tokenizer.regionizer import build_encoder

State = Literal["holds", "fails", "not here", "broken"]
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "model*.safetensors",
)  # with the tokenizer's, which `locate` leaves out


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        state: "holds" within the tolerance; "fails" beyond; "not here": no weights or no photo;
            "broken": it could not be run.
        off: the largest absolute difference of any number; None if there is nothing to compare.
        why: what is missing or went wrong.
    """

    case: Case
    state: State
    off: float | None = None
    why: str = ""


def check_weights(
    cases: Iterable[Case] = SLICES,
    *,
    photos: Path | None = None,
    checkpoints: Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Iterator[Verdict]:
    """Run the cases one by one.

    Args:
        cases: what to hold against what.
        photos: folder in which (at any depth) the photos lie.
        checkpoints: folder of local checkpoints, `ORG/NAME` or `NAME`; the hub's cache is looked up
            after it.
        download: fetch what is not here from the hub.
        device: where the models run.
    """
    for case in cases:
        folder, missing = _checkpoint(case, checkpoints, download)
        found = [_photo(photo, photos) for photo in case.photos]
        absent = [photo for photo, path in zip(case.photos, found, strict=True) if path is None]
        if absent:
            wanted = ", ".join(
                f"{photo.names[0]} of {photo.size[1]} x {photo.size[0]} pixels" for photo in absent
            )
            where = f"under {photos}" if photos else "(name a folder: --photos)"
            missing = "; ".join(filter(None, [missing, f"no photo {wanted} {where}"]))
        if missing or folder is None:
            yield Verdict(case, "not here", why=missing)
            continue
        pictures = [Picture.of(path) for path in found if path is not None]
        try:
            with torch.no_grad():
                outputs = RUNNERS[case.run](folder, pictures, case.given, device)
            yield compare(case, outputs)
        except (ValueError, TypeError, RuntimeError, OSError, ImportError, AttributeError) as error:
            # Whatever a foreign checkpoint or another version of the library raises is this case's
            # result, not the command's end.
            yield Verdict(case, "broken", why=f"{type(error).__name__}: {first_line(error)}")


def compare(case: Case, outputs: Mapping[str, Tensor]) -> Verdict:
    """Numbers against numbers.

    >>> compare(Case("a/b", "features", {"x": (1.0, 2.0)}, atol=0.1), {"x": torch.tensor([1.0, 2.5])}).state
    'fails'
    """
    off, good = 0.0, True
    for name, numbers in case.expected.items():
        wanted, got = torch.tensor(numbers, dtype=torch.float64), outputs[name].double().cpu()
        if wanted.shape != got.shape:
            return Verdict(
                case,
                "fails",
                why=f"{name}: shape {tuple(got.shape)} where {tuple(wanted.shape)} was published",
            )
        off = max(off, float((wanted - got).abs().max()))
        good &= torch.allclose(got, wanted, rtol=case.rtol, atol=case.atol)
    return Verdict(case, "holds" if good else "fails", off, "" if good else case.note)


def results(verdicts: Sequence[Verdict]) -> Iterator[Table]:
    """One row a case."""
    table = Table(
        title="published output slices",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
    )
    for head in ("model", "outputs", "verdict", "off by", "allowed", "why"):
        table.add_column(head, overflow="fold")
    for one in verdicts:
        case, colour = (
            one.case,
            {"holds": "green", "fails": "red", "broken": "red"}.get(one.state, "yellow"),
        )
        off = "" if one.off is None else f"{one.off:.2g}"
        allowed = f"{case.atol:g}" + (f" + {case.rtol:g} x" if case.rtol else "")
        table.add_row(
            case.model, ", ".join(case.expected), f"[{colour}]{one.state}[/]", off, allowed, one.why
        )
    yield table


def report(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """What the closing JSON line holds."""
    return [
        {
            "model": one.case.model,
            "outputs": list(one.case.expected),
            "state": one.state,
            "off": one.off,
            "why": one.why,
        }
        for one in verdicts
    ]


def _checkpoint(case: Case, checkpoints: Path | None, download: bool) -> tuple[Path | None, str]:
    """The folder of a model with all that the case needs, or why there is none."""
    own = [checkpoints / case.model, checkpoints / case.model.split("/")[-1]] if checkpoints else []
    for folder in own:
        if folder.is_dir():
            lack = _lack(folder, case)
            return (None, f"{folder} has no {lack}") if lack else (folder, "")
    found = cached_folder(case.model)
    lack = _lack(found, case) if found else "weights"
    if not lack:
        return found, ""
    if not download:
        return None, f"its {lack} are not on this machine (--download fetches them)"
    hub = need("huggingface_hub", extra="hub")
    try:
        folder = Path(hub.snapshot_download(case.model, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        return None, f"could not be fetched: {first_line(error)}"
    lack = _lack(folder, case)
    return (None, f"the hub has no {lack} of it on main") if lack else (folder, "")


def _lack(folder: Path, case: Case) -> str:
    """What a folder has not; nothing if it has all. `locate` leaves tokenizers out, so the cache
    may hold weights without one."""
    if availability(folder) != "yes":
        return "config.json and safetensors"
    tokenizer = any((folder / name).is_file() for name in TOKENIZERS) or "texts" not in case.given
    return "" if tokenizer else "tokenizer files"


def _photo(photo: Photo, photos: Path | None) -> Path | None:
    """The first file under `photos` of one of the names and of the right size."""
    for path in (
        (path for name in photo.names for path in sorted(photos.rglob(name))) if photos else ()
    ):
        with Image.open(path) as image:
            if image.size == photo.size[::-1]:
                return path
    return None


def _features(
    folder: Path, pictures: Sequence[Picture], given: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """The corner of the token sequence, prefix tokens first."""
    grid = _encoder(folder, device).encode(pictures)[0]
    tokens = grid.features.flatten(0, 1)
    tokens = tokens if grid.prefix is None else torch.cat([grid.prefix, tokens])
    return {"CLS and 2 patches, 3 channels": tokens[:3, :3]}


def _clip(
    folder: Path, pictures: Sequence[Picture], given: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """CLS -> final norm -> projection, against the texts."""
    model = _model("CLIPModel", folder, device)
    cls = torch.stack([grid.prefix[0] for grid in _encoder(folder, device).encode(pictures)])
    images = model.visual_projection(model.vision_model.post_layernorm(cls))
    cosine = _unit(images) @ _texts(model, folder, given["texts"], padding=True).T
    return {"logits per image": cosine * model.logit_scale.exp()}


def _siglip2(
    folder: Path, pictures: Sequence[Picture], given: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """Patches of pictures of three shapes -> attention pooling, against the texts."""
    drawn = [
        Picture.of(ellipse(high, wide)) for high, wide in ((224, 224), (1024, 1024), (224, 1024))
    ]
    model = _model("Siglip2Model", folder, device)
    grids = _encoder(folder, device).encode(pictures or drawn)
    images = torch.cat(
        [model.vision_model.head(grid.features.flatten(0, 1)[None], None) for grid in grids]
    )
    cosine = _texts(model, folder, given["texts"]) @ _unit(images).T
    return {"logits per text": cosine * model.logit_scale.exp() + model.logit_bias}


def _sam2(
    folder: Path, pictures: Sequence[Picture], given: Mapping[str, Any], device: str
) -> dict[str, Tensor]:
    """Masks from points or boxes; the most confident first."""
    model = Promptable.load(folder, str(folder), torch.float32, device)
    encoded = model.encode(pictures)
    # canvas pixels a photo's pixel, (x, y)
    scales = [
        torch.tensor([one.inside[axis] / one.size[axis] for axis in (1, 0)])
        for one in encoded.places
    ]
    boxed = "boxes" in given
    if boxed:
        boxes = [
            torch.tensor(box) * scale.repeat(2)
            for box, scale in zip(given["boxes"], scales, strict=True)
        ]
        prompt = {"input_boxes": torch.stack(boxes).to(device)}
    else:
        prompt = {
            "input_points": torch.stack(
                [torch.tensor(given["points"]) * scale for scale in scales]
            )[:, None].to(device)
        }
    output = model.module(**prompt, multimask_output=given["multimask"], **encoded.embeddings)
    if boxed:
        return {"IoU estimates": output.iou_scores.squeeze(-1)}
    scores = output.iou_scores[0, 0]
    order = scores.argsort(descending=True)
    return {
        "IoU estimates": scores[order],
        "best mask's logits": output.pred_masks[0, 0, order[0], :3, :3],
    }


RUNNERS: dict[
    str, Callable[[Path, Sequence[Picture], Mapping[str, Any], str], dict[str, Tensor]]
] = {
    "features": _features,
    "clip": _clip,
    "siglip2": _siglip2,
    "sam2": _sam2,
}


def ellipse(high: int, wide: int) -> Image.Image:
    """A blue disc with a green rim on red, as the SigLIP2 test draws it."""
    image = Image.new("RGB", (wide, high), "red")
    x, y = wide // 2, high // 2
    radius = min(x, y) // 8 * 7
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill="blue", outline="green", width=wide // 20)
    return image


def _encoder(folder: Path, device: str) -> Any:
    return replace(build_encoder(str(folder)), device=device)


def _model(name: str, folder: Path, device: str) -> Any:
    library = need("transformers", extra="hub")
    return (
        load_pretrained(getattr(library, name), folder, str(folder), dtype=torch.float32)
        .to(device)
        .eval()
    )


def _texts(model: Any, folder: Path, texts: Sequence[str], **options: Any) -> Tensor:
    with quiet_transformers():
        processor = need("transformers", extra="hub").AutoProcessor.from_pretrained(
            str(folder), local_files_only=True
        )
    found = model.get_text_features(
        **processor(text=list(texts), return_tensors="pt", **options).to(model.device)
    )
    return _unit(getattr(found, "pooler_output", found))


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)
