"""Visual tokens that say what they show: an auxiliary loss on the words of each token's object.

Answers alone teach a small model slowly what its visual tokens show. Where the objects of a picture
are known, each visual token is also asked for the words of the object there: its size, colour,
texture and shape, each with an equal share, read off by the language model's head before the first
layer and behind each. A connector that says regions in words is asked itself.

After: nothing published that is known to us; the logit lens (nostalgebraist 2020) as a loss, on
visual tokens.
Differs: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from regiontok.core.grid import PatchGrid, images_of
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Members
from regiontok.core.tokens import REGION, Tokens
from regiontok.methods import Connector
from regiontok.model.splice import IGNORE

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# An object is named where it covers this share of a token at least. Half of a patch would leave
# small objects without a token: those of 20 pixels cover no patch of 16 by half if they lie badly.
COVERED = 0.25
EPS = 1e-6


@dataclass(frozen=True, eq=False)
class ObjectWords:
    """What a picture shows, and the words for it.

    Attributes:
        masks: the visible pixels of each of o objects.
        words: `[o + 1 words]` ids of the words of each object, and of what is none of them.

    Raises:
        ValueError: If there is not one row of words for each mask, and one more.
    """

    masks: PixelMasks
    words: Int[Tensor, "o1 words"]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.masks) + 1:
            raise ValueError(
                f"{len(self.masks)} objects need {len(self.masks) + 1} rows of words, one for what "
                f"is no object, got {len(self.words)}"
            )


def words_of_tokens(
    tokens: Tokens,
    grids: Sequence[PatchGrid],
    members: Members,
    objects: Sequence[ObjectWords | None],
) -> Int[Tensor, "t words"]:
    """The ids of the words of each token's object, -1 for tokens that name nothing.

    A token of a region shows the object that covers most of it, if it covers `COVERED` of it.
    Tokens of the whole image, CLS, delimiters and newlines name nothing.

    Args:
        tokens: the tokens of a batch.
        grids: its views.
        members: the regions of its views.
        objects: what each image shows; None where that is not known.

    Raises:
        ValueError: If there are more or fewer `objects` than images, or their rows of words differ
            in length.
    """
    if len(objects) != tokens.images:
        raise ValueError(f"{tokens.images} images, but the objects of {len(objects)}")
    lengths = {one.words.shape[1] for one in objects if one is not None}
    if len(lengths) > 1:
        raise ValueError(f"objects have one number of words, not {sorted(lengths)}")
    words = torch.full((len(tokens), max(lengths, default=1)), -1)
    views = [0] * tokens.images  # seen so far, of each image
    for number, (grid, image) in enumerate(zip(grids, images_of(grids), strict=True)):
        named = objects[image]
        view, views[image] = views[image], views[image] + 1
        if named is None:
            continue
        is_here = (tokens.image == image) & (tokens.view == view) & (tokens.kind == REGION)
        rows = is_here.nonzero()[:, 0]
        of_patch = grid.frame.to_grid(named.masks).flatten(1).T  # [patches o]
        of_region = _of_regions(of_patch, members, number)
        patch, region = tokens.patch[rows].cpu(), tokens.region[rows].cpu()
        shares = torch.where((patch >= 0)[:, None], of_patch[patch.clamp(min=0)], of_region[region])
        if not shares.shape[1]:
            words[rows.cpu()] = named.words[-1]
            continue
        largest, item = shares.max(1)
        words[rows.cpu()] = named.words[item.masked_fill(largest < COVERED, len(named.masks))]
    return words.to(tokens.values.device)


def _of_regions(
    of_patch: Float[Tensor, "patches o"], members: Members, view: int
) -> Float[Tensor, "k o"]:
    """Share of each region of a view that each object covers."""
    first, end = members.regions[view].item(), members.regions[view + 1].item()
    is_here = (members.region >= first) & (members.region < end)
    patch = (members.patch[is_here] - members.patches[view]).cpu() % len(of_patch)
    region = (members.region[is_here] - first).cpu()
    sums = of_patch.new_zeros(int(end - first), of_patch.shape[1])
    sums = sums.index_add(0, region, of_patch[patch])
    return sums / torch.bincount(region, minlength=len(sums)).clamp(min=1)[:, None]


def with_naming(
    output: CausalLMOutputWithPast,
    words: Int[Tensor, "n words"],
    to_vocabulary: nn.Module,
    weight: float | Tensor,
) -> CausalLMOutputWithPast:
    """An output whose loss has that of naming, too, over all layers.

    What a layer reads at a visual token is what answers can attend to: words that stood behind the
    last layer alone would come too late.

    Args:
        output: loss and hidden states `[1 n e]` of a language model, the input's among them.
        words: ids of the words of each token, -1 where nothing is named.
        to_vocabulary: the language model's head.
        weight: weight of the loss of naming.
    """
    names = words[:, 0] >= 0
    if not bool(names.any()) or output.hidden_states is None or output.loss is None:
        return output
    states = torch.stack([state[0, names] for state in output.hidden_states])
    states = states / states.float().square().mean(-1, keepdim=True).add(EPS).sqrt().to(states)
    logits = to_vocabulary(states).flatten(0, 1)
    losses = naming_loss(logits, words[names].repeat(len(states), 1))
    output.loss = output.loss + weight * losses
    output.hidden_states = None
    return output


def share_of_batch(labels: Tensor | None, items: Tensor | int | None) -> Tensor | float:
    """The share that a pass has in its batch, by the ids that are supervised.

    Args:
        labels: those of the pass.
        items: number of supervised ids of the whole batch; None if the pass is all of it.
    """
    if items is None or labels is None:
        return 1.0
    return (labels[:, 1:] != IGNORE).sum() / items


def connector_naming(
    connector: Connector, module: nn.Module, tokens: Tokens, words: Int[Tensor, "t words"]
) -> Float[Tensor, ""] | None:
    """The loss of a connector that names its tokens, in its own type; None if none has words.

    Args:
        connector: the connector.
        module: its module.
        tokens: the tokens in front of it.
        words: ids of the words of each token, -1 where it names nothing.
    """
    named = words[:, 0] >= 0
    if not bool(named.any()):
        return None
    dtype = next(module.parameters()).dtype
    return connector.naming_loss(module, tokens.values[named].to(dtype), words[named])


def naming_loss(logits: Float[Tensor, "n c"], words: Int[Tensor, "n words"]) -> Float[Tensor, ""]:
    """Mean cross-entropy between what tokens say and an equal share for each of their words.

    Args:
        logits: what each of n visual tokens says.
        words: the ids of its words; one that is there twice has twice the share.

    >>> naming_loss(torch.tensor([[50.0, 50.0, 0.0]]), torch.tensor([[0, 1]]))
    tensor(0.6931)
    """
    return -logits.float().log_softmax(-1).gather(1, words).mean()
