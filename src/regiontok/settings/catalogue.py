"""Encoders by short name, and which encoder reads a hub name or a folder.

Grid, width and tokens are what the checkpoint gives at its own size; `size=` makes others. Grids
follow the checkpoint's published preprocessing: DINOv2 is resized and cropped to 224 px although
its positions were made for 518. Licences are those of the WEIGHTS, as their publisher states them
on the hub; read them there before any use. Nothing here is fetched or imported when a name is
looked up.

Checked, November 2026: on copies of the hub's pages, names and licences of SigLIP2, MLCD (the 448's
licence is the 336's) and C-RADIOv3, the name of AIMv2 (its licence on its sisters), and the name
alone of DINOv2-L with registers, RICE, DINOv3 and RADIO-H; RADIO's licence on its sister RADIO-g.
In timm 1.0.31: names, sizes, widths, prefix tokens and licences of the Perception Encoder, widths,
prefix tokens and licences of C-RADIOv3 and DINOv3. RADIO-B and RADIO-L stand in NVlabs' README. NOT
checked, for want of a copy: clip-vit-base-patch16, RICE's licence, and which of the CLIPs has
safetensors on its main branch. OpenAI states no licence for CLIP's weights (its code is MIT).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regiontok.settings.registry import names
from regiontok.settings.spec import Call, parse
from regiontok.system.hub import cached_folder

STUDY = 0.7  # the diagnostic study's threshold for `merge`, with CLIP, SigLIP2 and RADIO


@dataclass(frozen=True)
class Entry:
    """One encoder that can be called by a short name.

    Attributes:
        name: short name, or the name of the method itself.
        spec: what it stands for.
        hub: where the weights lie; None if they come with the package, or there are none.
        grid: (h, w) at the checkpoint's own size; None if it follows the photo.
        width: of a feature.
        prefix: CLS, summary and register tokens in front of the patches; None if they are known
            only once the weights are read.
        licence: of the weights.
        threshold: for `merge`, where it was measured.
        note: what a user should know before.
    """

    name: str
    spec: str
    hub: str | None
    grid: tuple[int, int] | None
    width: int
    prefix: int | None
    licence: str
    threshold: float | None = None
    note: str = ""

    @property
    def tokens(self) -> int | None:
        """Patches and prefix."""
        return (
            None
            if self.grid is None or self.prefix is None
            else self.grid[0] * self.grid[1] + self.prefix
        )


def _hub(
    name: str,
    hub: str,
    side: int | None,
    width: int,
    prefix: int | None,
    licence: str,
    *,
    by: str = "transformers",
    size: int | None = None,
    threshold: float | None = None,
    note: str = "",
) -> Entry:
    spec = f"{by}({hub!r}, size={size})" if size else f"{by}({hub!r})"
    return Entry(
        name,
        spec,
        hub,
        None if side is None else (side, side),
        width,
        prefix,
        licence,
        threshold,
        note,
    )


def _radio() -> Iterator[Entry]:
    nvidia, note = "NVIDIA, non-commercial", "RADIOv2.5"
    for letter, width in (("B", 768), ("L", 1024), ("H", 1280)):
        for size in (None, 384, 576, 768):
            name = f"radio-{letter.lower()}" + (f"-{size}" if size else "")
            yield _hub(
                name,
                f"nvidia/RADIO-{letter}",
                (size or 768) // 16,
                width,
                None,
                nvidia,
                by="radio",
                size=size,
                threshold=STUDY,
                note=note if letter == "H" else f"{note}; hub name not checked",
            )
    for letter, width in (("B", 768), ("L", 1024), ("H", 1280)):
        yield _hub(
            f"c-radio-v3-{letter.lower()}",
            f"nvidia/C-RADIOv3-{letter}",
            32,
            width,
            8,
            "NVIDIA open model",
            by="radio",
        )


_NAFLEX = "grid follows the photo, at most 256 patches"
_GATED = "gated: accept the licence on the hub first"
_DINOV2 = "size=518 gives 37 x 37, for which its positions were made"

CATALOGUE: tuple[Entry, ...] = (
    Entry("lite", "lite", None, (24, 24), 192, 0, "Apache-2.0", 0.5, "comes with the package"),
    Entry(
        "filters",
        "filters",
        None,
        (24, 24),
        320,
        0,
        "none needed",
        0.75,
        "no weights: hand-made filters",
    ),
    _hub(
        "clip-b16",
        "openai/clip-vit-base-patch16",
        14,
        768,
        1,
        "none stated",
        note="hub name not checked",
    ),
    _hub("clip-b32", "openai/clip-vit-base-patch32", 7, 768, 1, "none stated"),
    _hub("clip-l14", "openai/clip-vit-large-patch14", 16, 1024, 1, "none stated"),
    _hub(
        "clip-l14-336",
        "openai/clip-vit-large-patch14-336",
        24,
        1024,
        1,
        "none stated",
        threshold=STUDY,
        note="layer=-2 is LLaVA's choice",
    ),
    _hub(
        "siglip2-so400m-384",
        "google/siglip2-so400m-patch14-384",
        27,
        1152,
        0,
        "Apache-2.0",
        threshold=STUDY,
    ),
    _hub("siglip2-so400m-512", "google/siglip2-so400m-patch16-512", 32, 1152, 0, "Apache-2.0"),
    _hub(
        "siglip2-b-naflex",
        "google/siglip2-base-patch16-naflex",
        None,
        768,
        0,
        "Apache-2.0",
        by="naflex",
        note=_NAFLEX,
    ),
    _hub(
        "siglip2-so400m-naflex",
        "google/siglip2-so400m-patch16-naflex",
        None,
        1152,
        0,
        "Apache-2.0",
        by="naflex",
        note=_NAFLEX,
    ),
    *_radio(),
    _hub("dinov2-b", "facebook/dinov2-base", 16, 768, 1, "Apache-2.0", note=_DINOV2),
    _hub("dinov2-l", "facebook/dinov2-large", 16, 1024, 1, "Apache-2.0", note=_DINOV2),
    _hub(
        "dinov2-b-reg",
        "facebook/dinov2-with-registers-base",
        16,
        768,
        5,
        "Apache-2.0",
        note=_DINOV2,
    ),
    _hub(
        "dinov2-l-reg",
        "facebook/dinov2-with-registers-large",
        16,
        1024,
        5,
        "Apache-2.0",
        note=_DINOV2,
    ),
    _hub(
        "dinov3-b",
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        14,
        768,
        5,
        "DINOv3, gated",
        note=_GATED,
    ),
    _hub(
        "dinov3-l",
        "facebook/dinov3-vitl16-pretrain-lvd1689m",
        14,
        1024,
        5,
        "DINOv3, gated",
        note=_GATED,
    ),
    _hub("aimv2-l14-448", "apple/aimv2-large-patch14-448", 32, 1024, 0, "Apple AMLR, research"),
    _hub(
        "mlcd-l14-336",
        "DeepGlint-AI/mlcd-vit-large-patch14-336",
        24,
        1024,
        1,
        "Apache-2.0",
        note="a CLIP in its config",
    ),
    _hub("mlcd-g14-336", "DeepGlint-AI/mlcd-vit-bigG-patch14-336", 24, 1664, 1, "MIT"),
    _hub(
        "mlcd-g14-448",
        "DeepGlint-AI/mlcd-vit-bigG-patch14-448",
        32,
        1664,
        1,
        "MIT",
        note="licence not checked: that of the 336",
    ),
    _hub("rice-l14-560", "DeepGlint-AI/rice-vit-large-patch14-560", 40, 1024, 1, "not checked"),
    _hub(
        "pe-core-l14-336",
        "timm/vit_pe_core_large_patch14_336.fb",
        24,
        1024,
        1,
        "Apache-2.0",
        by="timm",
    ),
    _hub(
        "pe-lang-l14-448",
        "timm/vit_pe_lang_large_patch14_448.fb",
        32,
        1024,
        1,
        "Apache-2.0",
        by="timm",
    ),
    _hub(
        "pe-spatial-l14-448",
        "timm/vit_pe_spatial_large_patch14_448.fb",
        32,
        1024,
        1,
        "Apache-2.0",
        by="timm",
    ),
)

# What `regiontok.settings.spec` reads: the names that are no method's own.
SPECS = {entry.name: entry.spec for entry in CATALOGUE if entry.spec != entry.name}


def route(text: str) -> Call | str:
    """The encoder a user means: a spec or short name as it is; a folder or a hub name is given to
    the encoder that reads it.

    Nothing is downloaded. A folder, or a hub name whose config is in the hub's cache, goes by its
    config.json; another hub name by the catalogue, timm's own by their owner; the rest to
    `transformers`, which reads most and says what it does not.

    >>> str(route("nvidia/RADIO-L")), str(route("google/vit-base-patch16-224")), route("dinov2-l")
    ("radio('nvidia/RADIO-L')", "transformers('google/vit-base-patch16-224')", 'dinov2-l')
    """
    if "(" in text or text in SPECS or text in names("encoder"):
        return text
    own = Path(text).expanduser()
    if not own.is_dir() and "/" not in text and "\\" not in text:
        return text
    folder = own if own.is_dir() else cached_folder(text)
    if folder is not None and (folder / "config.json").is_file():
        return Call(reader(folder), (text,))
    known = {entry.hub: parse(entry.spec)[0].name for entry in CATALOGUE if entry.hub}
    return Call(known.get(text, "timm" if text.startswith("timm/") else "transformers"), (text,))


def reader(folder: Path) -> str:
    """Which encoder reads a checkpoint, by its config.json: "radio", "naflex", "timm" or
    "transformers".

    A config that is no json is left to `transformers`, whose message says so.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return "transformers"
    if not isinstance(config, dict):
        return "transformers"
    kind = str(config.get("model_type", ""))
    if kind == "radio" or any("RADIO" in str(name) for name in config.get("architectures") or ()):
        return "radio"
    if kind in ("siglip2", "siglip2_vision_model"):
        return "naflex"
    return "timm" if "pretrained_cfg" in config else "transformers"
