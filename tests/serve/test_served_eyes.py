"""The visual side inside a server: its tokens are those that the model itself reads."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from regiontok.core.picture import Picture
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.loading import from_vlm
from regiontok.serve.row_checks import UnusableRows
from regiontok.serve.served_eyes import MOST_SPECS, check_specs, open_served_eyes
from regiontok.serve.token_source import NotServed
from regiontok.settings.recipe import TokenizerSettings
from samples.models import IMAGE
from samples.pictures import blurred_photo
from samples.released import tiny_llava, tiny_qwen

PICTURES = [Picture.of(blurred_photo(seed, (40 + 9 * seed, 90))) for seed in range(3)]


def trained(folder, **changes):
    """A RegionVLM of random weights that is asked otherwise than it was trained."""
    settings = TokenizerSettings(encoder="filters(size=56)", regions="merge(0.7)", whole=True)
    answering = settings.model_copy(update={"regions": "merge(0.5)"})
    torch.manual_seed(0)
    model = RegionVLM.from_parts(
        mini_language_model(width=32, layers=1, heads=2),
        settings,
        image_token_id=IMAGE,
        answering=answering,
        **changes,
    )
    model.save_pretrained(folder)
    RegionVLMProcessor(mini_tokenizer()).save_pretrained(folder)
    return model.eval()


def released(parts, folder):
    model, processor = parts
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@torch.no_grad()
def test_a_trained_model_reads_as_it_is_asked_and_by_a_requests_own_steps(tmp_path):
    model = trained(tmp_path / "model")
    eyes = open_served_eyes(str(tmp_path / "model"))
    for asked, seen in [
        (None, model.see(PICTURES, settings="answering")),
        ("merge(k=5)", model.see(PICTURES, regions="merge(k=5)")),
        ("", model.see(PICTURES, regions="")),
    ]:
        images = eyes.see(PICTURES, asked)
        for image, values in zip(images, seen.split(), strict=True):
            torch.testing.assert_close(image.values, values)
            assert image.positions is None
    with pytest.raises(ValueError, match="did you mean 'merge'"):
        eyes.see(PICTURES, "mergee(0.7)")
    of_server = open_served_eyes(str(tmp_path / "model"), regions="merge(k=5)")
    assert [len(image.values) for image in of_server.see(PICTURES, None)] == [
        len(values) for values in model.see(PICTURES, regions="merge(k=5)").split()
    ]


def test_positions_that_a_server_cannot_keep_are_refused(tmp_path):
    trained(tmp_path / "model", positions="segment")
    with pytest.raises(NotServed, match="positions='segment'"):
        open_served_eyes(str(tmp_path / "model"))


@pytest.mark.parametrize("kind", ["llava", "qwen"])
def test_a_released_model_answers_as_from_vlm(kind, tmp_path):
    released(tiny_llava() if kind == "llava" else tiny_qwen(), tmp_path / "model")
    eyes = open_served_eyes(str(tmp_path / "model"), regions="merge(0.9)")
    for asked in (None, "merge(k=4)", ""):
        model = from_vlm(str(tmp_path / "model"), regions="merge(0.9)" if asked is None else asked)
        prompts = [model.processor.image_token] * len(PICTURES)
        expected = model.prepare(PICTURES, prompts).tokens
        for image, known in zip(eyes.see(PICTURES, asked), expected, strict=True):
            torch.testing.assert_close(image.values, known.values)
            if kind == "llava":
                assert image.positions is None
                continue
            torch.testing.assert_close(image.positions, known.positions)
            assert image.extent == max(known.grids[-1])


def test_a_picture_without_a_token_is_refused_and_few_pipelines_are_kept(tmp_path):
    released(tiny_llava(), tmp_path / "model")
    eyes = open_served_eyes(str(tmp_path / "model"))
    with pytest.raises(UnusableRows, match="the picture of 40 x 90 pixels has no token"):
        eyes.see(PICTURES[:1], "merge(0.9) | drop(below=1000)")
    for number in range(MOST_SPECS + 3):
        eyes._with(f"merge(0.{number + 10})")
    assert len(eyes._by_spec) == MOST_SPECS


@pytest.mark.parametrize("kind", ["trained", "llava"])
def test_specs_are_checked_before_the_eyes_are_opened(kind, tmp_path):
    folder = tmp_path / "model"
    if kind == "trained":
        trained(folder)
    else:
        released(tiny_llava(), folder)
    (folder / "model.safetensors").unlink()  # no weights are read
    for wrong, why in [
        ({"regions": "mergee(0.7)"}, "did you mean 'merge'"),
        ({"regions": "merge(0.7) | merge(k=)"}, "merge"),
        ({"regions": "segments(0.07)"}, "needs pixel masks"),
        ({"regions": "sort('com') | segments(0.07)"}, "must stand first"),
        ({"segmenter": "felzenswalb"}, "did you mean 'felzenszwalb'"),
        ({"device": "cuda1"}, "unknown device 'cuda1'"),
    ]:
        with pytest.raises(ValueError, match=why):
            check_specs(str(folder), **wrong)
    check_specs(str(folder))
    check_specs(str(folder), regions="segments(0.07)", segmenter="felzenszwalb", device="cuda:7")


def test_a_trained_models_own_segmenter_serves_other_steps(tmp_path):
    settings = TokenizerSettings(
        encoder="filters(size=56)", segmenter="felzenszwalb", regions="segments(0.07)"
    )
    model = RegionVLM.from_parts(
        mini_language_model(width=32, layers=1, heads=2), settings, image_token_id=IMAGE
    )
    model.save_pretrained(tmp_path / "model")
    check_specs(str(tmp_path / "model"), regions="segments(0.07) | sort('com')")
