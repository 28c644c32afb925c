"""Exported tokens as `image_embeds` of vLLM: what the server is told, and one request an image.

After: vLLM 0.32's offline `LLM` (vllm/multimodal/parse.py; the classes of the models).
Differs: nothing known. Qwen-VL's grid is made up, so that it counts tokens: `[1, 2, 2k]` patches,
of which 2 x 2 are a token, lay them at positions s, s + 1, s + 2 ... along the width, which is not
where `from_vlm` puts them (the centroids of regions).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regiontok.released.server_form import ServerForm
from regiontok.serve.earlier import read_manifest as read_manifest
from regiontok.serve.row_checks import check_rows
from regiontok.system.errors import RegiontokError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

NEVER = -100.0  # the bias by which vLLM never samples a token
MOST_BIASES = 300  # of one request, by vLLM's own check


class UnusableExport(RegiontokError, ValueError):
    """An export cannot be served as it was asked for."""


def serving(
    manifest: Mapping[str, Any], *, text: int = 512, images: int = 1, model: str | None = None
) -> dict[str, Any]:
    """Arguments of `vllm.LLM` (with dashes, of vLLM's server) that an export needs.

    Embeddings are allowed; no raw image is, so that the vision tower is not loaded (embeddings are
    not counted against that limit). Deep-stacked levels are the exception: without its tower vLLM's
    Qwen3-VL leaves them out without a word. `max_model_len` are the positions of text and image
    tokens together.

    Args:
        manifest: see `read_manifest`.
        text: tokens of prompt and answer together.
        images: the most images in one prompt.
        model: the checkpoint to serve, if it is not the one the tokens were made with; needed for a
            `RegionVLM`, see `write_llava`.

    Raises:
        ValueError: If there is no image, the language model has too few positions, or the model is
            a RegionVLM itself, which vLLM does not know.
    """
    most = _most(manifest)
    form = form_of(manifest)
    if model is None and manifest["model_type"] == "regiontok_vlm":
        raise UnusableExport(
            f"vLLM does not know a {manifest['model_type']}: write its language model as a LLaVA "
            "and give that as model"
        )
    if not manifest.get("equal", True) and not form.mixed_counts:
        raise UnusableExport(
            "the images of this export have different numbers of tokens, at which vLLM's engine "
            "dies in this model: serve them as rows of prompts (regiontok export --as-lm), or "
            "export anew without it"
        )
    needed, longest = images * most + text, manifest["longest"]
    if longest is not None and needed > longest:
        raise UnusableExport(
            f"{images} images of {most} tokens and {text} of text are {needed}, the language model "
            f"takes {longest}: take fewer regions (merge(k=...)), fewer images or less text"
        )
    limits = {"image": images if manifest.get("levels") else 0}
    return {
        "model": model or manifest["model"],
        "enable_mm_embeds": True,
        "limit_mm_per_prompt": {**limits, **({"video": 0} if form.video else {})},
        "max_model_len": needed,
        "dtype": manifest["dtype"],
    }


def answering(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams` (or of a request to the server) that an export needs.

    The placeholder is never answered: it stands for no word, and behind the vocabulary of a trained
    model it was added for the server alone.

    Args:
        manifest: see `read_manifest`.
    """
    token_id = int(manifest.get("image_token_id", -1))
    if token_id < 0:
        return {}
    behind = range(int(manifest.get("vocabulary") or token_id), token_id)
    silenced = [token_id, *behind[: MOST_BIASES - 1]]
    return {"logit_bias": dict.fromkeys(silenced, NEVER)}


def requests(
    folder: Path, prompt: str, *, placeholder: str | None = None
) -> Iterator[dict[str, Any]]:
    """One request an image for `vllm.LLM.generate`: the prompt, and the image's tokens.

    Args:
        folder: what `regiontok export` wrote.
        prompt: the prompt, in the words of the model's own template, with one placeholder.
        placeholder: the text that stands for the image; None takes the manifest's.

    Raises:
        ValueError: If the prompt has not exactly one placeholder, or a tensor is not what the
            manifest says.
    """
    manifest = read_manifest(folder)
    placeholder = placeholder or manifest.get("placeholder", "<image>")
    if prompt.count(placeholder) != 1:
        raise UnusableExport(
            f"a prompt holds one {placeholder} for its image, this one "
            f"{prompt.count(placeholder)}: {prompt!r}"
        )
    form = form_of(manifest)
    for _, values in exported_rows(folder, manifest):
        image = grid_embeds(values) if form.grid else values[None]
        yield {"prompt": prompt, "multi_modal_data": {"image": image}}


def grid_embeds(values: Float[Tensor, "k d"]) -> dict[str, Any]:
    """The tokens of one image as vLLM's Qwen-VL takes them: with a grid that counts them.

    >>> grid_embeds(torch.ones(3, 4))["image_grid_thw"].tolist()
    [[1, 2, 6]]
    """
    grid = torch.tensor([[1, 2, 2 * len(values)]])
    return {"image_embeds": values, "image_grid_thw": grid}


def exported_rows(
    folder: Path, manifest: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], Float[Tensor, "k d"]]]:
    """The entry and the tokens of each image of an export.

    Args:
        folder: what `regiontok export` wrote.
        manifest: its manifest.

    Raises:
        ValueError: If a tensor is not what the manifest says, or not finite.
    """
    for entry in manifest["images"]:
        values = torch.load(folder / entry["torch"], weights_only=True)
        expected = entry["shape"]
        if manifest["k"]:
            expected = [manifest["k"], manifest["hidden_size"]]
        if list(values.shape) != expected:
            raise UnusableExport(
                f"{entry['torch']} is {list(values.shape)}, the manifest says {entry['shape']}: "
                "export it anew"
            )
        check_rows(values, manifest["hidden_size"], entry["torch"])
        yield entry, values


def form_of(manifest: Mapping[str, Any]) -> ServerForm:
    """What a server must be given beside the tokens; exports of older releases are of LLaVA-1.5."""
    return ServerForm(**manifest.get("form", {"as_lm": True}))


def _most(manifest: Mapping[str, Any]) -> int:
    """The most tokens that an image of an export has.

    Raises:
        ValueError: If there is no image.
    """
    most = int(manifest["k"] or manifest.get("most") or 0)
    if not most:
        raise UnusableExport("the export holds no image: all were set aside, its manifest says why")
    return most
