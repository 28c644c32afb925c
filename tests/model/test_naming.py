"""Words of visual tokens by hand, and their loss beside that of the answers."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.data.collate import Collator, Example
from regiontok.model.block_attention import attention_by_blocks
from regiontok.model.naming import ObjectWords, naming_loss, words_of_tokens
from regiontok.model.splice import IGNORE
from regiontok.settings.recipe import TokenizerSettings
from samples.grids import grid_of
from samples.models import mini_vlm, needs_masked_logits, ready_to_answer
from samples.pictures import colour_blocks

# the left column, and a quarter of the patch at its right below
LABELS = torch.zeros(2, 3, 3, dtype=torch.bool)
LABELS[0, :2, 0] = LABELS[1, 2, 1] = True
OBJECTS = ObjectWords(PixelMasks.from_dense(LABELS), torch.tensor([[11, 12], [21, 22], [7, 7]]))


def test_patches_have_the_words_of_what_covers_them():
    grid = grid_of(torch.zeros(3, 3, 2))
    members = Members.of([Regions.singletons((3, 3))])
    tokens = Tokens.of_patches(torch.zeros(9, 2), members)
    words = words_of_tokens(tokens, [grid], members, [OBJECTS])
    first, second = [[11, 12], [7, 7], [7, 7]], [[7, 7], [21, 22], [7, 7]]
    assert words.tolist() == [*first, *first, *second]


def test_regions_have_the_words_of_what_covers_most_of_them():
    grid = grid_of(torch.zeros(3, 3, 2))
    masks = torch.zeros(3, 3, 3, dtype=torch.bool)
    masks[0, :, 0] = masks[1, 1:, 1] = masks[2, :, 2] = True
    members = Members.of([Regions.from_masks(masks), Regions.from_masks(masks)])
    tokens = Tokens.of_regions(torch.zeros(6, 2), members)
    words = words_of_tokens(tokens, [grid, grid], members, [None, OBJECTS])
    assert words.tolist() == [[-1, -1]] * 3 + [[11, 12], [21, 22], [7, 7]]


def test_counts_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="2 objects need 3 rows of words"):
        ObjectWords(OBJECTS.masks, OBJECTS.words[:2])
    members = Members.of([Regions.singletons((3, 3))])
    tokens = Tokens.of_patches(torch.zeros(9, 2), members)
    with pytest.raises(ValueError, match="1 images, but the objects of 2"):
        words_of_tokens(tokens, [grid_of(torch.zeros(3, 3, 2))], members, [None, OBJECTS])


@needs_masked_logits
def test_the_loss_is_that_of_the_answers_and_of_every_patch():
    visual = TokenizerSettings(encoder="filters(size=112)", regions="merge(k=6)")
    model = ready_to_answer(mini_vlm(visual)).train()
    pictures = tuple(colour_blocks(seed, (40, 60)) for seed in range(2))
    objects = ObjectWords(
        PixelMasks.from_dense(torch.ones(1, 40, 60)), torch.tensor([[40, 41], [50, 50]])
    )
    rows = [
        Example(
            [1, 3, 20, 21, 22, 23],
            [IGNORE, IGNORE, IGNORE, 21, IGNORE, 23],
            (picture,),
            blocks=(-1, -1, 0, 0, 1, 1),
            objects=named,
        )
        for picture, named in zip(pictures, [(objects,), (None,)], strict=True)
    ]
    batch = Collator(placeholder=3)(rows)
    plain = {name: value for name, value in batch.items() if name != "objects"}
    with attention_by_blocks(model):
        answers = model(**plain, supervised_only=True)
        both = model(**batch, naming=0.5, supervised_only=True)
        states = model(**plain, output_hidden_states=True).hidden_states
    head = model.get_output_embeddings()
    visual = [state[0, 1:7] / state[0, 1:7].square().mean(-1, True).sqrt() for state in states]
    words = torch.tensor([[40, 41]] * 6)
    losses = [naming_loss(head(state), words) for state in visual]
    expected = answers.loss + 0.5 * torch.stack(losses).mean()
    assert torch.allclose(both.loss, expected, rtol=1e-4)
    assert torch.equal(both.logits, answers.logits)
    with pytest.raises(ValueError, match="turns='independent'"):
        model(**batch, naming=0.5)
