"""RegionVLMProcessor: one id a placeholder, pictures beside, any chat template.

The pipeline of transformers is run end to end.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings

hub = pytest.importorskip("transformers")

# the forms of real chat templates of language models: content is text, or it is not understood
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + "
    "'<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PHOTOS = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    for seed in range(3)
]
KEYS = [Picture.of(photo).key for photo in PHOTOS]


@pytest.fixture
def processor() -> RegionVLMProcessor:
    return RegionVLMProcessor(mini_tokenizer())


def keys(batch) -> list[str]:
    return [picture.key for picture in batch["pictures"]]


def test_one_id_a_placeholder_and_pictures_in_a_flat_list(processor):
    batch = processor(
        images=PHOTOS,
        text=["<image>ab<image>", "c<image>"],
        return_tensors="pt",
        padding_side="left",
    )
    assert batch["input_ids"].eq(processor.image_token_id).tolist() == [
        [True, False, False, True],
        [False, False, False, True],
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert keys(batch) == KEYS
    assert (
        set(batch)
        == {"input_ids", "attention_mask", "pictures"}
        == set(processor.model_input_names)
    )


def test_to_moves_tensors_and_leaves_pictures(processor):
    batch = processor(images=PHOTOS[0], text="<image>", return_tensors="pt")
    assert batch.to(dtype=torch.bfloat16)["input_ids"].dtype == torch.int64
    assert batch.to("meta")["input_ids"].device.type == "meta"
    assert keys(batch) == KEYS[:1]


@pytest.mark.parametrize(
    "images", [PHOTOS[:2], [[PHOTOS[0]], [PHOTOS[1]]], [PHOTOS[0], [PHOTOS[1]]]]
)
def test_pictures_flat_or_by_row(processor, images):
    assert keys(processor(images=images, text=["<image>", "<image>"])) == KEYS[:2]


def test_text_without_pictures(processor):
    assert set(processor(text="abc", return_tensors="pt")) == {"input_ids", "attention_mask"}
    assert keys(processor(images=[[], [PHOTOS[1]]], text=["abc", "<image>"])) == KEYS[1:2]


def test_paths_arrays_and_addresses(processor, tmp_path):
    PHOTOS[0].save(tmp_path / "photo.png")
    file = io.BytesIO()
    PHOTOS[1].save(file, "png")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    batch = processor(
        images=[str(tmp_path / "photo.png"), address, np.asarray(PHOTOS[2])],
        text="<image><image><image>",
    )
    assert all(
        np.array_equal(picture.pixels, photo)
        for picture, photo in zip(batch["pictures"], PHOTOS, strict=True)
    )
    with pytest.raises(PictureError, match=r"nowhere\.png: no such file"):
        processor(images="nowhere.png", text="<image>")


def test_what_does_not_fit_is_refused(processor):
    with pytest.raises(
        ValueError,
        match=r"the prompts hold 2 image placeholders \(by row: \[2, 0\]\), but 1 images were "
        r"given$",
    ):
        processor(images=PHOTOS[:1], text=["<image><image>", "a"])
    with pytest.raises(
        ValueError, match=r"\(by row: \[2, 0\]\), but 2 images were given \(by row: \[1, 1\]\)"
    ):
        processor(images=[PHOTOS[:1], PHOTOS[1:2]], text=["<image><image>", "a"])
    with pytest.raises(ValueError, match=r"hold 1 image placeholders .* but 0 images were given"):
        processor(text="<image>")
    with pytest.raises(ValueError, match="text is never cut here"):
        processor(text="abc", truncation=True, max_length=2)
    with pytest.raises(ValueError, match="no video and no audio"):
        processor(text="abc", videos=[PHOTOS])
    with pytest.raises(ValueError, match="of type 'text' or 'image', got 'video'"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}])
    with pytest.raises(ValueError, match="sanitize_control_tokens would take placeholders"):
        processor.apply_chat_template(
            [{"role": "user", "content": "a"}], sanitize_control_tokens=True
        )


def test_a_tokenizer_that_does_not_know_the_placeholder_learns_it():
    plain = mini_tokenizer()
    known = len(plain)
    processor = RegionVLMProcessor(plain, image_token="<picture>")
    assert processor.image_token_id == known, (
        "behind the vocabulary: no embedding is there, and none is needed"
    )
    visual = TokenizerSettings(encoder="filters(size=56)", regions="windows(4)")
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=1), visual, image_token_id=known
    )
    batch = processor(images=PHOTOS[0], text="<picture>a", return_tensors="pt")
    assert model(**batch).logits.shape == (1, 5, known)
    assert model.generate(**batch, max_new_tokens=2).shape[1] <= 4


def test_chat_with_any_template(processor):
    chat = [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": PHOTOS[0]},
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": PHOTOS[1]}},
            ],
        },
        {"role": "assistant", "content": "It."},
    ]
    for template in (None, CHATML):
        text = processor.apply_chat_template(chat, chat_template=template)
        assert "<image>\nWhat?<image>" in text
        assert "It." in text
        batch = processor.apply_chat_template(
            chat, chat_template=template, tokenize=True, return_dict=True, return_tensors="pt"
        )
        assert keys(batch) == KEYS[:2]
        assert int(batch["input_ids"].eq(processor.image_token_id).sum()) == 2
        assert processor.tokenizer.decode(batch["input_ids"][0]) == text
    assert chat[0]["content"][0] == {"type": "image", "image": PHOTOS[0]}, (
        "the user's messages stay as they were"
    )


def test_many_chats_and_a_mask_of_the_assistants_words(processor):
    chats = [
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": photo},
                    {"type": "text", "text": "What?" * index},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": f"It {index}."}]},
        ]
        for index, photo in enumerate(PHOTOS)
    ]
    batch = processor.apply_chat_template(
        chats,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True},
    )
    assert keys(batch) == KEYS
    for index, (ids, mask) in enumerate(
        zip(batch["input_ids"], batch["assistant_masks"], strict=True)
    ):
        said = [token for token, spoken in zip(ids, mask, strict=True) if spoken]
        assert processor.tokenizer.decode(said) == f"It {index}.</s>"


def test_saved_and_loaded(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    RegionVLM.from_parts(
        mini_language_model(width=24, layers=1),
        TokenizerSettings(encoder="filters(size=56)"),
        image_token_id=3,
    ).config.save_pretrained(tmp_path)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]
    for loaded in (
        RegionVLMProcessor.from_pretrained(tmp_path),
        hub.AutoProcessor.from_pretrained(tmp_path),
    ):
        assert type(loaded) is RegionVLMProcessor
        assert (loaded.image_token, loaded.image_token_id) == ("<image>", processor.image_token_id)
        assert loaded.apply_chat_template(chat) == processor.apply_chat_template(chat)
        assert loaded(text="ab")["input_ids"] == processor(text="ab")["input_ids"]


@pytest.mark.parametrize("way", ["objects", "folder"])
def test_pipeline(processor, tmp_path, way):
    visual = TokenizerSettings(encoder="filters(size=56)", regions="windows(4)", norm="rms")
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=1), visual, image_token_id=processor.image_token_id
    )
    if way == "folder":
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        pipe = hub.pipeline("image-text-to-text", model=str(tmp_path))
    else:
        pipe = hub.pipeline("image-text-to-text", model=model, processor=processor)
    chat = [
        {
            "role": "user",
            "content": [{"type": "image", "image": PHOTOS[0]}, {"type": "text", "text": "What?"}],
        },
    ]
    (answer,) = pipe(
        text=chat, max_new_tokens=5, return_full_text=False, generate_kwargs={"do_sample": False}
    )
    batch = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = model.generate(**batch, max_new_tokens=5, do_sample=False)[
        0, batch["input_ids"].shape[1] :
    ]
    assert answer["generated_text"] == processor.decode(ids, skip_special_tokens=True)
    (whole,) = pipe(text=chat, max_new_tokens=5, generate_kwargs={"do_sample": False})
    assert whole["generated_text"][-1] == {"role": "assistant", "content": answer["generated_text"]}
    (plain,) = pipe(images=PHOTOS[0], text="<image>a", max_new_tokens=3, return_full_text=False)
    assert isinstance(plain["generated_text"], str)
