"""Encoders by short name, and which encoder reads a hub name or a folder.

Grid, width and tokens are what the checkpoint gives at its own size; `size=` makes others. Grids
follow the checkpoint's published preprocessing: DINOv2 is resized and cropped to 224 px although
its positions were made for 518. Licences are those of the WEIGHTS, as their publisher states them
on the hub; read them there before any use. Nothing is fetched or imported when a name is looked up.

Checked in November 2026: on copies of the hub's pages, names and licences of SigLIP2, MLCD (the
448's licence is the 336's) and C-RADIOv3, the name of AIMv2 (its licence on its sisters), and the
name alone of DINOv2-L with registers, RICE, DINOv3 and RADIO-H; RADIO's licence on its sister
RADIO-g. In timm 1.0.31: names, sizes, widths, prefix tokens and licences of the Perception Encoder,
widths, prefix tokens and licences of C-RADIOv3 and DINOv3. RADIO-B and RADIO-L stand in NVlabs'
README. NOT checked, for want of a copy: clip-vit-base-patch16, SigLIP, AIMv2 at 336 px, RICE's
licence, and which of the CLIPs has safetensors on its main branch. OpenAI states no licence for
CLIP's weights (its code is MIT).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regiontok.settings.registry import expand, names
from regiontok.settings.spec import Call, parse_one
from regiontok.system.hub import availability, cached_folder

STUDY_THRESHOLD = 0.7  # of `merge` in the diagnostic study, for CLIP, SigLIP2 and RADIO


@dataclass(frozen=True)
class CatalogueEntry:
    """One encoder that can be called by a short name.

    Attributes:
        name: the short name, or the name of the method itself.
        spec: the spec that the name stands for.
        hub: hub name of the weights; None if they come with the package, or there are none.
        grid: (h, w) at the checkpoint's own size; None if it follows the photo.
        width: length of a feature.
        prefix: number of CLS, summary and register tokens in front of the patches; None if they are
            known only once the weights are read.
        licence: licence of the weights.
        threshold: threshold for `merge`, if one was measured.
        note: what a user should know before choosing it.
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
        """Number of patches and prefix tokens; None if it is not known beforehand."""
        if self.grid is None or self.prefix is None:
            return None
        return self.grid[0] * self.grid[1] + self.prefix


_CLIP, _META, _APACHE = "none stated", "DINOv3, gated", "Apache-2.0"
_NVIDIA, _NVIDIA_OPEN = "NVIDIA, non-commercial", "NVIDIA open model"

# short name, hub name, side of the grid, width, prefix tokens, licence of the weights
# fmt: off
_ON_HUB = (
    ("clip-b16", "openai/clip-vit-base-patch16", 14, 768, 1, _CLIP),
    ("clip-b32", "openai/clip-vit-base-patch32", 7, 768, 1, _CLIP),
    ("clip-l14", "openai/clip-vit-large-patch14", 16, 1024, 1, _CLIP),
    ("clip-l14-336", "openai/clip-vit-large-patch14-336", 24, 1024, 1, _CLIP),
    ("siglip-so400m-384", "google/siglip-so400m-patch14-384", 27, 1152, 0, _APACHE),
    ("siglip2-so400m-384", "google/siglip2-so400m-patch14-384", 27, 1152, 0, _APACHE),
    ("siglip2-so400m-512", "google/siglip2-so400m-patch16-512", 32, 1152, 0, _APACHE),
    ("siglip2-b-naflex", "google/siglip2-base-patch16-naflex", None, 768, 0, _APACHE),
    ("siglip2-so400m-naflex", "google/siglip2-so400m-patch16-naflex", None, 1152, 0, _APACHE),
    ("radio-b", "nvidia/RADIO-B", 48, 768, None, _NVIDIA),
    ("radio-l", "nvidia/RADIO-L", 48, 1024, None, _NVIDIA),
    ("radio-h", "nvidia/RADIO-H", 48, 1280, None, _NVIDIA),
    ("c-radio-v3-b", "nvidia/C-RADIOv3-B", 32, 768, 8, _NVIDIA_OPEN),
    ("c-radio-v3-l", "nvidia/C-RADIOv3-L", 32, 1024, 8, _NVIDIA_OPEN),
    ("c-radio-v3-h", "nvidia/C-RADIOv3-H", 32, 1280, 8, _NVIDIA_OPEN),
    ("dinov2-b", "facebook/dinov2-base", 16, 768, 1, _APACHE),
    ("dinov2-l", "facebook/dinov2-large", 16, 1024, 1, _APACHE),
    ("dinov2-b-reg", "facebook/dinov2-with-registers-base", 16, 768, 5, _APACHE),
    ("dinov2-l-reg", "facebook/dinov2-with-registers-large", 16, 1024, 5, _APACHE),
    ("dinov3-b", "facebook/dinov3-vitb16-pretrain-lvd1689m", 14, 768, 5, _META),
    ("dinov3-l", "facebook/dinov3-vitl16-pretrain-lvd1689m", 14, 1024, 5, _META),
    ("aimv2-l14-336", "apple/aimv2-large-patch14-336", 24, 1024, 0, "Apple AMLR, research"),
    ("aimv2-l14-448", "apple/aimv2-large-patch14-448", 32, 1024, 0, "Apple AMLR, research"),
    ("mlcd-l14-336", "DeepGlint-AI/mlcd-vit-large-patch14-336", 24, 1024, 1, _APACHE),
    ("mlcd-g14-336", "DeepGlint-AI/mlcd-vit-bigG-patch14-336", 24, 1664, 1, "MIT"),
    ("mlcd-g14-448", "DeepGlint-AI/mlcd-vit-bigG-patch14-448", 32, 1664, 1, "MIT"),
    ("rice-l14-560", "DeepGlint-AI/rice-vit-large-patch14-560", 40, 1024, 1, "not checked"),
    ("pe-core-l14-336", "timm/vit_pe_core_large_patch14_336.fb", 24, 1024, 1, _APACHE),
    ("pe-lang-l14-448", "timm/vit_pe_lang_large_patch14_448.fb", 32, 1024, 1, _APACHE),
    ("pe-spatial-l14-448", "timm/vit_pe_spatial_large_patch14_448.fb", 32, 1024, 1, _APACHE),
)
# fmt: on
# Papers use these at further sizes of their canvas, in pixels, too: the name in front of the size,
# the sizes, the side of a patch. RADIOv2.5 in the study, the others in RICE's Table 1.
_OTHER_SIZES = {
    **{f"radio-{letter}": (f"radio-{letter}", (384, 576, 768), 16) for letter in "blh"},
    "rice-l14-560": ("rice-l14", (336, 378), 14),
    "siglip2-so400m-512": ("siglip2-so400m", (560,), 16),
}

_THRESHOLDS = dict.fromkeys(
    ("clip-l14-336", "siglip2-so400m-384", "radio-b", "radio-l", "radio-h"), STUDY_THRESHOLD
)
_NOTES = {
    "clip-b16": "hub name not checked",
    "siglip-so400m-384": "hub name not checked",
    "aimv2-l14-336": "hub name not checked",
    "clip-l14-336": "layer=-2 is LLaVA's choice",
    "mlcd-l14-336": "a CLIP in its config",
    "mlcd-g14-448": "licence not checked: that of the 336",
    "radio-b": "RADIOv2.5; hub name not checked",
    "radio-l": "RADIOv2.5; hub name not checked",
    "radio-h": "RADIOv2.5",
    **dict.fromkeys(
        ("siglip2-b-naflex", "siglip2-so400m-naflex"),
        "grid follows the photo, at most 256 patches",
    ),
    **dict.fromkeys(
        ("dinov2-b", "dinov2-l", "dinov2-b-reg", "dinov2-l-reg"),
        "size=518 gives 37 x 37, for which its positions were made",
    ),
    **dict.fromkeys(("dinov3-b", "dinov3-l"), "gated: accept the licence on the hub first"),
}

_WITHOUT_HUB = (
    CatalogueEntry(
        name="lite",
        spec="lite",
        hub=None,
        grid=(24, 24),
        width=192,
        prefix=0,
        licence=_APACHE,
        threshold=0.5,
        note="comes with the package",
    ),
    CatalogueEntry(
        name="filters",
        spec="filters",
        hub=None,
        grid=(24, 24),
        width=320,
        prefix=0,
        licence="none needed",
        threshold=0.75,
        note="no weights: hand-made filters",
    ),
    CatalogueEntry(
        name="mini-rice",
        spec="transformers('mini-rice')",
        hub=None,
        grid=(24, 24),
        width=64,
        prefix=1,
        licence=_APACHE,
        note="comes with the package: generated pictures only",
    ),
    CatalogueEntry(
        name="mini-whole",
        spec="transformers('mini-whole')",
        hub=None,
        grid=(24, 24),
        width=64,
        prefix=1,
        licence=_APACHE,
        note="twin of mini-rice: trained on whole pictures",
    ),
)


def _entries_on_hub() -> Iterator[CatalogueEntry]:
    for name, hub, side, width, prefix, licence in _ON_HUB:
        method = _method_for(name, hub)
        stem, sizes, patch = _OTHER_SIZES.get(name, (name, (), 1))
        for size in (None, *sizes):
            grid_side = size // patch if size else side
            yield CatalogueEntry(
                name=f"{stem}-{size}" if size else name,
                spec=f"{method}({hub!r}, size={size})" if size else f"{method}({hub!r})",
                hub=hub,
                grid=(grid_side, grid_side) if grid_side else None,
                width=width,
                prefix=prefix,
                licence=licence,
                threshold=_THRESHOLDS.get(name),
                note=_NOTES.get(name, ""),
            )


def _method_for(name: str, hub: str) -> str:
    """The encoder that reads a checkpoint of the catalogue."""
    if "RADIO" in hub:
        return "radio"
    if name.endswith("-naflex"):
        return "naflex"
    return "timm" if hub.startswith("timm/") else "transformers"


CATALOGUE: tuple[CatalogueEntry, ...] = (*_WITHOUT_HUB, *_entries_on_hub())

# The short names, which `regiontok.settings.registry` reads: those that are no method's own name.
SPECS = {entry.name: entry.spec for entry in CATALOGUE if entry.spec != entry.name}


def encoder_call(text: str) -> Call | str:
    """The encoder that a user means by a text, as a call or a spec; nothing is downloaded.

    A spec or short name stays as it is; a folder or a hub name becomes the argument of the encoder
    that reads it. A folder, or a hub name whose config is in the hub's cache, goes by its
    config.json; another hub name by the catalogue, timm's own by their owner; any other to
    `transformers`, which reads most checkpoints and says what it does not read.

    >>> str(encoder_call("nvidia/RADIO-L")), str(encoder_call("google/vit-base-patch16-224"))
    ("radio('nvidia/RADIO-L')", "transformers('google/vit-base-patch16-224')")
    >>> encoder_call("dinov2-l")
    'dinov2-l'
    """
    if "(" in text or text in SPECS or text in names("encoder"):
        return text
    local = Path(text).expanduser()
    if not local.is_dir() and "/" not in text and "\\" not in text:
        return text
    folder = local if local.is_dir() else cached_folder(text)
    if folder is not None and (folder / "config.json").is_file():
        return Call(encoder_of_checkpoint(folder), (text,))
    by_hub_name = {entry.hub: parse_one(entry.spec).name for entry in CATALOGUE if entry.hub}
    default = "timm" if text.startswith("timm/") else "transformers"
    return Call(by_hub_name.get(text, default), (text,))


def full_encoder_call(text: str) -> Call:
    """The call that a spec, a short name, a hub name or a folder stands for.

    >>> str(full_encoder_call("clip-l14-336(layer=-2)"))
    "transformers('openai/clip-vit-large-patch14-336', layer=-2)"
    """
    call = encoder_call(text)
    return expand("encoder", parse_one(call) if isinstance(call, str) else call)


def absent_encoder(text: str) -> CatalogueEntry | None:
    """The entry of an encoder of the hub none of whose files is here; None of any other encoder."""
    hubs = full_encoder_call(text).args
    for entry in CATALOGUE:
        if entry.hub and entry.hub in hubs and availability(entry.hub) == "no":
            return entry
    return None


def encoder_of_checkpoint(folder: Path) -> str:
    """The encoder that reads a checkpoint: "radio", "naflex", "timm" or "transformers".

    Its config.json decides; one that is no json is left to `transformers`, whose message says so.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return "transformers"
    if not isinstance(config, dict):
        return "transformers"
    kind = str(config.get("model_type", ""))
    if kind == "radio" or any("RADIO" in str(name) for name in config.get("architectures") or ()):
        return "radio"
    if kind in ("siglip2", "siglip2_vision_model"):
        return "naflex"
    return "timm" if "pretrained_cfg" in config else "transformers"
