"""A model answers with the settings that its recipe's `[inference.tokenizer]` names (O5, D10)."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from regiontok.jobs.chat.session import open_chat
from regiontok.model.conversation import TrainedConversationModel
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings, changed
from regiontok.tokenizer.pipeline import last_members
from regiontok.tokenizer.regionizer import Regionizer
from samples.pictures import noise

TRAINED = TokenizerSettings(
    encoder="filters(size=56)",
    regions="merge(k=3)",
    norm="rms",
    partition_on="normed",
    pool="select",
    whole=True,
)
ANSWERING = TRAINED.model_copy(update={"regions": "", "whole": False, "partition_on": "raw"})
QUESTION = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]


def model_of(answering: TokenizerSettings | None, trained: TokenizerSettings = TRAINED):
    """A fresh model with its processor."""
    processor = RegionVLMProcessor(mini_tokenizer())
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=1, heads=2),
        trained,
        image_token_id=processor.image_token_id,
        answering=answering,
    )
    return model.eval(), processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model that answers on its 16 patches, and is trained with a whole image as well."""
    folder = tmp_path_factory.mktemp("model")
    model, processor = model_of(ANSWERING)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_the_settings_travel_with_the_model_and_are_used_where_it_generates(folder):
    model = RegionVLM.from_pretrained(folder).eval()
    assert model.config.answering_settings == ANSWERING
    picture = noise(60, 80)
    assert len(model.see([picture])) == 32  # all patches as one block, and by region
    patches = model.see([picture], settings="answering")
    assert len(patches) == 16
    batch = RegionVLMProcessor.from_pretrained(folder)(
        images=picture, text="<image>a", return_tensors="pt"
    )
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    by_hand = model.generate(batch["input_ids"], pictures=patches, **options)
    assert torch.equal(model.generate(**batch, **options), by_hand)
    trained_tokens = model.see([picture])
    by_hand = model.generate(batch["input_ids"], pictures=trained_tokens, **options)
    assert torch.equal(model.generate(**batch, settings="trained", **options), by_hand)
    logits = model(**batch).logits
    assert logits.shape[1] == 33, "a forward is one of training"


def test_a_chat_reads_pictures_as_it_is_to_be_asked(folder, tmp_path):
    noise_file = tmp_path / "noise.png"
    Image.fromarray(noise(60, 80).pixels).save(noise_file)

    def visual(**options):
        answer = open_chat(str(folder), [noise_file], longest=1, **options).ask("What?")
        return answer.tokens.get("region", 0) + answer.tokens.get("whole", 0)

    assert visual() == 16
    assert visual(as_trained=True) == 32
    assert visual(changes=["regions=merge(k=2)"]) == 16
    assert visual(changes=["pool=select", "regions=merge(k=2) | drop(below=100)"]) == 0
    with pytest.raises(ValueError, match="pool is 'mean', but the model is trained with 'select'"):
        visual(changes=["pool=mean"])
    with pytest.raises(ValueError, match=r"unknown key 'tokenizer\.region'"):
        visual(changes=["region="])


def test_pixels_may_be_shuffled_only_when_it_answers():
    """Rows F and G of the study's Table 3: another encoder, the same weights."""
    shuffled = changed(TRAINED, ["encoder=filters(size=56, shuffle=7)", "regions=", "whole=false"])
    model, processor = model_of(shuffled)
    picture = noise(60, 80)
    grids, _ = Regionizer.of(shuffled)([picture])
    plain, _ = Regionizer.of(ANSWERING)([picture])
    assert not torch.equal(grids[0].features, plain[0].features)
    expected = model.head.but(whole=False, cls=False, partition_on="raw", newline=False)
    run = model.run([picture], settings="answering")
    assert torch.equal(run.grids[0].features, grids[0].features)
    with torch.no_grad():
        tokens = expected(run.grids, last_members(run.trails, run.grids))
    assert torch.equal(tokens.values, run.tokens.values)
    by_hand, _ = model_of(None)
    by_hand.head.load_state_dict(model.head.state_dict())
    assert torch.equal(by_hand.see([picture], settings=shuffled).values, run.tokens.values)
    assert by_hand.head.whole, "the trained head stays as it was"
    conversation = TrainedConversationModel(by_hand, processor, settings=shuffled)
    (shown,) = conversation.prepare(QUESTION, [picture]).pictures
    assert torch.equal(shown.tokens.values, run.tokens.values)


def test_features_of_training_do_not_serve_other_features():
    model, _ = model_of(changed(TRAINED, ["encoder=filters(size=56, shuffle=7)"]))
    grids = model.regionizer.see([noise(60, 80)])
    assert len(model.see(grids)) == 32
    with pytest.raises(ValueError, match="cached features are those of training"):
        model.see(grids, settings="answering")
    without_masks, _ = model_of(ANSWERING)
    assert len(without_masks.see(grids, settings="answering")) == 16


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="norm is 'none', but the model is trained with 'rms'"):
        model_of(TRAINED.model_copy(update={"norm": "none", "partition_on": "raw"}))
    model, _ = model_of(None)
    with pytest.raises(ValueError, match="settings must be 'trained' or 'answering'"):
        model.see([noise(60, 80)], settings="tested")
    tiled = TRAINED.model_copy(update={"tiles": "1x2", "regions": ""})
    with pytest.raises(ValueError, match="newline token here, and this head was trained without"):
        model.see([noise(60, 80)], settings=tiled)
