"""Conversations with a trained model, and models of all kinds opened by their name."""

from __future__ import annotations

import pytest
import torch

from regiontok.model.conversation import TrainedConversationModel, open_conversation_model
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.settings.recipe import TokenizerSettings
from samples.pictures import noise
from samples.released import tiny_llava

QUESTION = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]


def trained(**visual) -> tuple[RegionVLM, RegionVLMProcessor]:
    """A fresh model with its processor."""
    processor = RegionVLMProcessor(mini_tokenizer())
    settings = TokenizerSettings(**{"encoder": "filters(size=56)", "norm": "rms", **visual})
    language_model = mini_language_model(width=24, layers=1, heads=2)
    model = RegionVLM.from_parts(language_model, settings, image_token_id=processor.image_token_id)
    return model.eval(), processor


@pytest.mark.parametrize("partition_on", ["raw", "normed"])
@pytest.mark.parametrize("tiles", ["", "2x2"])
def test_regions_and_frames_are_those_the_tokens_were_made_of(partition_on, tiles):
    model, processor = trained(regions="merge(k=3)", partition_on=partition_on, tiles=tiles)
    conversation = TrainedConversationModel(model, processor)
    (picture,) = conversation.prepare(QUESTION, [noise(60, 80)]).pictures
    with torch.no_grad():
        run = model.run([noise(60, 80)])
    assert torch.equal(picture.tokens.values, run.tokens.values)
    assert picture.frames == tuple(grid.frame for grid in run.grids)
    for regions, expected in zip(picture.regions, run.regions, strict=True):
        assert torch.equal(regions.labels, expected.labels)


def test_a_picture_is_encoded_once_and_its_row_is_the_models():
    model, processor = trained(regions="merge(k=3)", whole=True)
    conversation = TrainedConversationModel(model, processor)
    first = conversation.prepare(QUESTION, [noise(60, 80)])
    again = conversation.prepare(QUESTION, [noise(60, 80)])
    assert first.pictures[0] is again.pictures[0]
    assert first.seconds["encode"] > 0 == again.seconds["encode"] == again.seconds["regions"]
    text = "<s>user: \nWhat?\nassistant: "
    assert first.length == 4 + len(text) - len("<s>") + 1
    assert first.visual_columns.tolist() == list(range(7, 11))
    ids = first.generate(max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert ids.shape == (1, first.length - 4 + 1 + 2)  # one placeholder for four tokens


def test_a_processor_of_another_model_is_refused():
    model, processor = trained()
    model.config.image_token_id = 77
    with pytest.raises(ValueError, match="<image> has the id 3, the model's placeholder 77"):
        TrainedConversationModel(model, processor)


def test_models_are_opened_by_folder(tmp_path):
    for model, name in ((trained(), "trained"), (tiny_llava(), "released")):
        for saved in model:
            saved.save_pretrained(tmp_path / name)
    assert isinstance(open_conversation_model(str(tmp_path / "trained")), TrainedConversationModel)
    released = open_conversation_model(str(tmp_path / "released"), regions="merge(k=4)")
    assert isinstance(released, ReleasedConversationModel)
    assert len(released.prepare(QUESTION, [noise(60, 80)]).pictures[0].tokens) == 4
    with pytest.raises(ValueError, match="trained with its own regions: leave out --regions"):
        open_conversation_model(str(tmp_path / "trained"), regions="merge(k=4)")


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json: give the folder of a model"):
        open_conversation_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not json"):
        open_conversation_model(str(tmp_path))


def test_a_revision_goes_to_the_hub_and_is_refused_of_a_folder(tmp_path, monkeypatch):
    asked = []

    def from_hub(name, **options):
        asked.append((name, options["revision"]))
        raise ValueError("no network")

    monkeypatch.setattr("regiontok.model.conversation.from_vlm", from_hub)
    for revision in ("v1", ""):
        with pytest.raises(ValueError, match="no network"):
            open_conversation_model("owner/name", revision=revision)
    assert asked == [("owner/name", "v1"), ("owner/name", None)]
    (tmp_path / "config.json").write_text('{"model_type": "regiontok_vlm"}')
    with pytest.raises(ValueError, match="revision='v1' belongs to a hub name"):
        open_conversation_model(str(tmp_path), revision="v1")
