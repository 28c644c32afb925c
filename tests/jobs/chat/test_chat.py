"""Chat with a model that has learned the colours of squares, from its folder.

Answers, history, commands, attention and errors are tried.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.picture import Picture, PictureError
from regiontok.jobs.chat.command import (
    ChatOutput,
    converse,
    draw_answer,
    region_tables,
    reports,
    typed_lines,
)
from regiontok.jobs.chat.session import Chat, open_chat, ranked
from regiontok.model.conversation import TrainedConversationModel, open_conversation_model
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from regiontok.model.vlm import RegionVLM
from regiontok.released.conversation import ReleasedConversationModel
from regiontok.released.loading import from_vlm
from regiontok.settings.recipe import TokenizerSettings
from samples.released import tiny_llava

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 200)}


def square(colour, y=8, x=20):
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[y : y + 32, x : x + 32] = COLOURS[colour]
    return Picture.of(pixels, f"{colour}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A `RegionVLM` that says the colour of a square, saved with its processor.

    It learns in about three seconds.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    processor = RegionVLMProcessor(mini_tokenizer())
    tokenizer = processor.tokenizer
    visual = TokenizerSettings(
        encoder="filters(size=112)", regions="merge(k=3)", norm="rms", whole=True
    )
    language_model = mini_language_model(width=64, layers=2, heads=4)
    model = RegionVLM.from_parts(language_model, visual, image_token_id=tokenizer.image_token_id)
    names = [list(COLOURS)[i] for i in rng.integers(0, len(COLOURS), 80)]
    grids = model.regionizer.see([square(name, *rng.integers(0, 32, 2)) for name in names])
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Colour?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    start = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(80):
        index = rng.integers(0, len(names), 16)
        texts = [f"{prompt}{names[i]}</s>" for i in index]
        rows = tokenizer(
            texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt"
        )
        labels = rows.input_ids.masked_fill(rows.attention_mask == 0, -100)
        labels[:, :start] = -100
        model(
            rows.input_ids, rows.attention_mask, [grids[i] for i in index], labels=labels
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    path = tmp_path_factory.mktemp("chat") / "colours"
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def conversation_model(folder):
    return open_conversation_model(str(folder))


@pytest.fixture
def chat(conversation_model):
    return Chat(conversation_model, longest=8)


class RecordedOutput(ChatOutput):
    """An output that remembers."""

    def __init__(self, out):
        self.words, self.tables = [], []
        super().__init__(self.words.append, self.tables.append, out)

    @property
    def text(self):
        return "".join(self.words)


@pytest.mark.parametrize("colour", list(COLOURS))
def test_it_says_the_colour_piece_by_piece(chat, colour):
    chat.show(square(colour))
    pieces = []
    answer = chat.ask("Colour?", pieces.append)
    assert answer.text == colour == "".join(pieces)
    assert answer.tokens == {"text": 27, "region": 3, "whole": 1, "answer": len(colour) + 1}
    assert all(seconds > 0 for seconds in answer.seconds.values())


def test_attention_of_an_answer(chat):
    chat.show(square("red"))
    (looked_at,) = chat.ask("Colour?").attention
    (view,) = looked_at.views
    assert view.regions.shape == (3,)
    assert 0 < view.whole < view.visual < 1
    assert view.cls == 0
    rows = ranked(looked_at)
    assert [row["share"] for row in rows] == sorted((row["share"] for row in rows), reverse=True)
    assert {row["region"] for row in rows} == {0, 1, 2}
    whole = next(row["box"] for row in rows if row["region"] == 0)
    assert whole == [0, 0, 64, 64]  # the background surrounds the square


def test_rows_are_those_of_the_answers_tokens_alone(chat):
    """Teacher forcing through the model itself, with eager attention, gives the same."""
    chat.show(square("green"))
    answer = chat.ask("Colour?")
    model, processor = chat.conversation_model.model, chat.conversation_model.processor
    parts = [{"type": "image"}, {"type": "text", "text": "Colour?"}]
    text = (
        processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        + "green"
    )
    ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    spliced = model.spliced(ids, None, answer.attention[0].picture.tokens)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        whole = torch.stack(
            model.language_model(inputs_embeds=spliced.embeds, output_attentions=True).attentions
        )[:, 0]
    model.set_attn_implementation("sdpa")
    visual = (spliced.visual[0] >= 0).nonzero()[:, 0]
    # five letters and the end of the answer
    expected = whole[:, :, -6:][..., visual].mean((0, 1, 2))
    torch.testing.assert_close(
        answer.attention[0].views[0].regions.float(), expected[1:], atol=1e-6, rtol=0
    )
    assert answer.attention[0].views[0].whole == pytest.approx(float(expected[0]), abs=1e-6)


def test_history_grows_and_a_picture_is_encoded_once(chat):
    chat.show(square("blue", 3, 3))
    first, second = chat.ask("Colour?"), chat.ask("Sure?")
    assert first.seconds["encode"] > 0 == second.seconds["encode"] == second.seconds["regions"]
    # "user: <image>\nColour?\nassistant: blue</s>\n" stands before the second question
    assert second.tokens["text"] == first.tokens["text"] + len("blue") + 1 + 1 + len(
        "user: Sure?\nassistant: "
    )
    assert (second.tokens["region"], second.tokens["whole"]) == (3, 1)
    chat.reset()
    assert chat.answers == []
    again = chat.ask("Colour?")
    assert (again.text, again.tokens) == (first.text, first.tokens)


def test_two_pictures_in_two_turns(chat):
    chat.show(square("red"))
    chat.ask("Colour?")
    chat.show(square("green"))
    answer = chat.ask("Colour?")
    assert [looked_at.picture.picture.name for looked_at in answer.attention] == [
        "red.png",
        "green.png",
    ]
    assert answer.tokens["region"] == 6
    shares = [looked_at.views[0] for looked_at in answer.attention]
    assert shares[0].visual + shares[1].visual < 1
    assert shares[0].text == pytest.approx(1 - shares[0].visual)


def third(calls):
    """Raises KeyboardInterrupt at its third call, once."""
    calls.append(1)
    if len(calls) == 3:
        raise KeyboardInterrupt


def test_ctrl_c_between_tokens_stops_the_answer_and_not_the_chat(chat, monkeypatch):
    chat.show(square("green"))
    decode, calls = chat.conversation_model.tokenizer.decode, []
    monkeypatch.setattr(
        chat.conversation_model.tokenizer,
        "decode",
        lambda *args, **kwargs: third(calls) or decode(*args, **kwargs),
    )
    answer = chat.ask("Colour?")
    assert (answer.stopped, answer.text, answer.tokens["answer"]) == (True, "gre", 3)
    assert len(answer.attention) == 1
    assert chat.conversation_model.model.language_model.config._attn_implementation == "sdpa"
    assert not chat.ask("Colour?").stopped


def test_ctrl_c_inside_the_model_drops_the_half_made_row(chat):
    chat.show(square("green"))
    calls = []
    last = chat.conversation_model.model.language_model.model.layers[-1]
    hook = last.register_forward_pre_hook(lambda *_: third(calls))
    output = RecordedOutput(None)
    converse(chat, ["Colour?"], output)
    hook.remove()
    assert output.text == "gr [stopped]\n"
    (stopped,) = chat.answers
    assert stopped.tokens["answer"] == 2
    assert stopped.attention[0].views[0].visual > 0


def test_a_model_whose_attention_cannot_be_kept_chats_on(chat, monkeypatch):
    decoder = chat.conversation_model.model.language_model.get_decoder()
    monkeypatch.setattr(decoder, "_supports_sdpa", False, raising=False)
    blind, output = Chat(chat.conversation_model, longest=8), RecordedOutput(None)
    blind.show(square("red"))
    converse(blind, ["Colour?", "/regions"], output)
    assert output.text.startswith("red\n")
    assert "does not run SDPA" in output.text
    assert blind.answers[0].report()["attention"] == []


def test_commands(chat, tmp_path):
    Image.fromarray(square("blue").pixels).save(tmp_path / "blue one.png")
    output = RecordedOutput(tmp_path / "out")
    lines = [
        "/regions",
        f"/image {tmp_path / 'blue one.png'}",
        "Colour?",
        "",
        "/regions",
        f"/save {tmp_path / 'said.json'}",
    ]
    converse(
        chat,
        [
            *lines,
            "/regoins",
            "/image",
            "/image none.png",
            "/save",
            "/help",
            "/reset",
            "/quit",
            "not asked",
        ],
        output,
    )
    assert "no answer yet" in output.text
    assert "64 x 64 px" in output.text
    assert "blue\n" in output.text
    assert "no command /regoins (did you mean '/regions'?)" in output.text
    assert "say which: /image PATH" in output.text
    assert "none.png: no such file" in output.text
    assert "say where: /save FILE.json" in output.text
    assert "Ctrl-C stops an answer" in output.text
    assert output.text.endswith("the pictures stay\n")
    assert "blue one.png: " in output.text
    assert "of the answer's attention" in output.text
    with pytest.raises(ValueError, match="no command /foo"):
        converse(chat, ["/foo"], output, strict=True)
    assert len(output.tables) == 1
    saved = json.loads((tmp_path / "said.json").read_text())
    assert [(turn["question"], turn["answer"]) for turn in saved] == [("Colour?", "blue")]
    drawn = Image.open(tmp_path / "out" / "1-blue-one.png")
    assert drawn.width > 2 * 640, "the photo stands beside it"
    pixels = np.asarray(drawn).astype(int)[-20 - 640 - 100 :, -60 - 640 : -60]
    assert (pixels[..., 0] - pixels[..., 2]).max() > 100  # orange somewhere
    assert np.ptp(pixels[20:50, 8:30].reshape(-1, 3), 0).max() > 100  # G


def test_the_table_has_g_and_every_region(chat):
    chat.show(square("red"))
    (table,) = region_tables(chat.ask("Colour?"))
    first, shares = (list(table.columns[place].cells) for place in (0, 2))
    assert first[0] == "G"
    assert sorted(first[1:]) == ["0", "1", "2"]
    assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=3)


def test_one_drawing_a_picture(chat, tmp_path):
    chat.show(square("red"))
    chat.show(square("blue"))
    paths = draw_answer(chat.ask("Colour?"), tmp_path / "new" / "folder", 7)
    assert [path.name for path in paths] == ["7-0-red.png", "7-1-blue.png"]
    assert all(path.is_file() for path in paths)


def test_tiles_are_views_of_one_picture(tmp_path):
    processor = RegionVLMProcessor(mini_tokenizer())
    visual = TokenizerSettings(
        encoder="filters(size=56)", regions="merge(k=2)", tiles="2x2", cut="tile"
    )
    language_model = mini_language_model(width=24, layers=1, heads=2)
    model = RegionVLM.from_parts(
        language_model, visual, image_token_id=processor.image_token_id
    ).eval()
    tiled = Chat(TrainedConversationModel(model, processor), longest=2)
    tiled.show(square("red"))
    answer = tiled.ask("Colour?")
    (looked_at,) = answer.attention
    assert [len(view.regions) for view in looked_at.views] == [2] * 5
    assert sum(float(view.regions.sum()) for view in looked_at.views) == pytest.approx(
        looked_at.views[0].visual
    )
    assert "4.1" in region_tables(answer)[0].columns[0].cells
    assert [path.name for path in draw_answer(answer, tmp_path, 1)] == [
        f"1-red-{view}.png" for view in range(5)
    ]


def test_json_lines(chat):
    chat.show(square("green"))
    (line,) = reports(chat, ["Colour?\n", "\n"])
    line = json.loads(json.dumps(line, allow_nan=False))
    assert (line["command"], line["answer"], line["stopped"]) == ("chat", "green", False)
    assert set(line["seconds"]) == {"encode", "regions", "prefill", "decode"}
    (seen,) = line["attention"]
    assert seen["image"] == "green.png"
    assert sum(row["share"] for row in seen["regions"]) + seen["whole"] == pytest.approx(
        seen["visual"], abs=1e-5
    )


def test_lines_typed():
    said = []
    lines = iter(["a", KeyboardInterrupt, "b", EOFError])

    def read(_prompt):
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    assert list(typed_lines(read, said.append)) == ["a", "b"]
    assert "/quit" in said[0]


def test_text_alone(chat):
    answer = chat.ask("Colour?")
    assert answer.attention == ()
    output = RecordedOutput(None)
    converse(chat, ["/regions"], output)
    assert "no picture with regions" in output.text


def test_a_conversation_that_is_too_long_stays_as_it_was(chat):
    chat.show(square("red"))
    with pytest.raises(ValueError, match="the language model takes 2048"):
        chat.ask("x" * 2100)
    assert chat.ask("Colour?").text == "red"


def test_mistakes_are_one_line(folder, tmp_path):
    with pytest.raises(PictureError, match=r"none\.png: no such file"):
        open_chat(str(folder), [tmp_path / "none.png"])
    with pytest.raises(ValueError, match="no such folder"):
        open_chat(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        open_chat(str(tmp_path))
    with pytest.raises(ValueError, match="leave out --regions"):
        open_chat(str(folder), regions="merge(0.5)")


def bare(folder, path):
    """The model without processor and tokenizer."""
    path.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (path / name).write_bytes((folder / name).read_bytes())
    return path


def test_a_folder_without_processor(folder, tmp_path):
    path = bare(folder, tmp_path / "bare")
    with pytest.raises(ValueError, match="no processor or tokenizer that can be read") as caught:
        open_conversation_model(str(path))
    assert "\n" not in str(caught.value)
    tokenizer = mini_tokenizer()
    tokenizer.save_pretrained(path)
    chat = Chat(open_conversation_model(str(path)), longest=8)
    chat.show(square("red"))
    assert chat.ask("Colour?").text == "red"
    tokenizer.chat_template = None
    (path / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(path)
    with pytest.raises(ValueError, match="no chat template"):
        open_conversation_model(str(path))


@pytest.mark.parametrize(("regions", "count"), [("merge(k=5)", 5), ("", 16)])
def test_a_released_model(tmp_path, regions, count):
    vlm = from_vlm(*tiny_llava(), regions=regions)
    calls = []
    encode = vlm.family.encode
    vlm.family.encode = lambda *args: calls.append(1) or encode(*args)
    chat = Chat(ReleasedConversationModel(vlm), longest=4)
    chat.show(square("red"))
    first, second = chat.ask("What?"), chat.ask("And?")
    assert len(calls) == 1
    assert second.tokens["region"] == count
    assert 1 <= first.tokens["answer"] <= 4
    view = second.attention[0].views[0]
    assert view.regions.shape == (count,)
    assert view.visual == pytest.approx(float(view.regions.sum()))
    assert [path.name for path in draw_answer(second, tmp_path, 2)] == ["2-red.png"]


def test_a_model_of_closed_questions_is_asked_one_by_one_about_the_last_picture(folder, tmp_path):
    """Its processor says so, and keeps saying so when it is saved."""
    closed = RegionVLMProcessor.from_pretrained(folder)
    closed.questions = "world"
    closed.save_pretrained(tmp_path)
    closed = RegionVLMProcessor.from_pretrained(tmp_path)
    assert closed.questions == "world"
    chat = Chat(TrainedConversationModel(RegionVLM.from_pretrained(folder), closed), longest=4)
    with pytest.raises(ValueError, match="asked about a picture: show one first"):
        chat.ask("What colour is the ring?")
    chat.show(square("red"))
    chat.show(square("blue"))
    with pytest.raises(ValueError, match="does not understand 'Colour\\?'"):
        chat.ask("Colour?")
    first = chat.ask("what color is the ring")
    second = chat.ask("What colour is the ring?")
    assert (first.question, first.tokens, first.text) == (
        "what color is the ring",
        second.tokens,
        second.text,
    )
    (attention,) = second.attention
    assert attention.picture.picture.name == "blue.png"
