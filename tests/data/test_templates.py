"""Templates as jinja texts: asked through them, a model reads what it was trained on."""

from __future__ import annotations

import datetime
import logging

import pytest
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from regiontok.data.record import RecordError, Turn
from regiontok.data.templates import Template
from regiontok.model.chat_templates import VICUNA
from regiontok.model.mini import mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from samples.tokenizers import (
    CHATML,
    DATED,
    LLAMA2,
    LLAMA3,
    LLAMA_FORMS,
    MARKED,
    QWEN3,
    TALK,
    llama_like,
    qwen_like,
)

TALKS = {
    "one turn": TALK[:2],
    "two turns": TALK,
    "text only": [Turn("user", "Hi"), Turn("assistant", "Hello")],
    "two pictures": [Turn("user", "<image> or <image>?"), Turn("assistant", "The first.")],
    "system": [Turn("system", "Be brief."), *TALK],
}
OWN = {
    "chatml": lambda: qwen_like(CHATML),
    "marked": lambda: qwen_like(MARKED),
    "qwen3": lambda: qwen_like(QWEN3),
    "llama3": lambda: qwen_like(LLAMA3),
    "dated": lambda: qwen_like(DATED),
    "llama2": lambda: llama_like(template=LLAMA2),
    "mini": mini_tokenizer,
}


def messages(turns) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def asked(tokenizer, template: Template, turns) -> str:
    """What transformers writes with the template as the tokenizer's chat template."""
    tokenizer.chat_template = template.chat_template
    return tokenizer.apply_chat_template(
        messages(turns), tokenize=False, add_generation_prompt=True
    )


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize(
    "make", [*(lambda form=form: llama_like(form) for form in LLAMA_FORMS), qwen_like]
)
def test_vicuna_asks_what_it_was_trained_on(make, talk):
    tokenizer, turns = make(), TALKS[talk]
    template = Template(tokenizer, "vicuna_v1")
    rendered = template.render(turns)
    prompt = asked(tokenizer, template, turns[:-1])
    assert prompt == rendered.text[: rendered.spans[-1].start]
    assert prompt == template.prompt(turns[:-1]).text
    assert prompt.endswith(" ASSISTANT:")
    begin = "<s>" if tokenizer.bos_token == "<s>" else ""
    system = "Be brief." if talk == "system" else VICUNA
    assert prompt.startswith(f"{begin}{system} USER: ")
    whole = tokenizer.apply_chat_template(messages(turns), tokenize=False)
    assert whole == rendered.text


def test_vicuna_is_what_llava_writes():
    text = Template(llama_like(), "vicuna_v1").render(TALK).text
    assert text == (
        f"<s>{VICUNA} USER: <image>\nWhat colour is the circle? ASSISTANT: The circle is red.</s>"
        "USER: And the triangle? ASSISTANT: Blue: naïve café 🦀, I think.</s>"
    )


def test_plain_asks_with_the_picture_alone():
    tokenizer = llama_like("first")
    template = Template(tokenizer, "plain")
    question = Turn("user", "<image>\nDescribe it.")
    assert template.render([question, Turn("assistant", " A cat.")]).text == "<s><image> A cat.\n"
    assert (
        asked(tokenizer, template, [question]) == "<s><image>" == template.prompt([question]).text
    )
    for refused in (TALK, [Turn("user", "no picture")], [Turn("system", "x"), question]):
        with pytest.raises(RecordError, match="one question with a picture and one caption"):
            template.render(refused)


@pytest.mark.parametrize("name", ["plain", "vicuna_v1"])
def test_a_saved_template_comes_back_and_takes_pictures_as_parts(name, tmp_path):
    tokenizer = llama_like("first")
    template = Template(tokenizer, name)
    tokenizer.chat_template = template.chat_template
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == template.chat_template
    expected = template.prompt(TALK[:1]).text
    parts = [{"type": "image"}, {"type": "text", "text": "What colour is the circle?"}]
    talk = [{"role": "user", "content": parts}]
    options = {"tokenize": False, "add_generation_prompt": True}
    assert loaded.apply_chat_template(talk, **options) == expected
    assert RegionVLMProcessor(loaded).apply_chat_template(talk, **options) == expected


@pytest.mark.parametrize("name", OWN)
def test_own_templates_ask_what_they_were_trained_on(name):
    tokenizer = OWN[name]()
    template = Template(tokenizer)
    for turns in (TALK[:2], TALK):
        rendered = template.render(turns)
        prompt = asked(tokenizer, template, turns[:-1])
        assert (
            prompt == rendered.text[: rendered.spans[-1].start] == template.prompt(turns[:-1]).text
        )
    again = Template(tokenizer)  # from the saved template: nothing is put in front twice
    assert again.chat_template == template.chat_template
    assert again.identity == template.identity


def test_thinking_is_off_in_a_prompt_as_in_training():
    tokenizer = qwen_like(QWEN3)
    template = Template(tokenizer)
    assert asked(tokenizer, template, TALK[:1]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert not template.render(TALK[:2]).spans[0].start < template.render(TALK[:2]).text.index(
        "</think>"
    )


class OtherDay(datetime.datetime):
    """A day long after."""

    @classmethod
    def now(cls, tz=None):
        return cls(2031, 3, 9, 7, 5)


BY_FORMAT = {
    "%d %b %Y": "26 Jul 2024",
    "%Y-%m-%d": "2024-07-26",
    "%A, %B %-d, %y": "Friday, July 26, 24",
    "%H:%M": "00:00",
}
DATES = [
    (DATED, "Today Date: 26 Jul 2024<"),
    *(
        ("{{ 'Now: ' + strftime_now('" + form + "') + ';' }}" + CHATML, f"Now: {text};")
        for form, text in BY_FORMAT.items()
    ),
]


@pytest.mark.parametrize(("chat_template", "expected"), DATES)
def test_a_date_does_not_follow_the_day(chat_template, expected, monkeypatch):
    tokenizer = qwen_like(chat_template)
    template = Template(tokenizer)
    text, identity = template.render(TALK).text, template.identity
    assert expected in text
    monkeypatch.setattr(chat_template_utils, "datetime", OtherDay)
    assert expected not in tokenizer.apply_chat_template(messages(TALK), tokenize=False)
    assert template.render(TALK).text == text
    assert Template(tokenizer).identity == identity
    assert asked(tokenizer, template, TALK[:1]) == template.prompt(TALK[:1]).text


def test_a_template_that_asks_otherwise_than_it_trains_is_named(caplog):
    without_prompt = CHATML.split("{% if add_generation_prompt")[0]
    with caplog.at_level(logging.WARNING, logger="regiontok"):
        template = Template(qwen_like(without_prompt))
    assert "is not what is trained" in caplog.text
    rendered = template.render(TALK)
    assert template.prompt(TALK[:-1]).text == rendered.text[: rendered.spans[-1].start]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes"),
        ("{{ 9 ** 999999999 }}", "it takes more than 0.1 s of processor time"),
        ("{% for a in range(10 ** 12) %}{% endfor %}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ 1 // 0 }}", "by zero"),
        ("{{ messages[7].role.name }}", "no element 7"),
        ("{{ messages + 5 }}", "can only concatenate"),
        ("{% for", "unexpected"),
    ],
)
def test_templates_that_fail_or_never_end_are_one_clear_error(monkeypatch, template, reason):
    monkeypatch.setattr("regiontok.system.rendering.RENDER_SECONDS", 0.1)
    tokenizer = mini_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=rf"cannot give the spans of answers: .*{reason}.* Name a"):
        Template(tokenizer)
    with pytest.raises(ValueError, match=rf"refuses this conversation: .*{reason}"):
        RegionVLMProcessor(tokenizer).apply_chat_template([{"role": "user", "content": "Hi"}])


def test_a_template_that_is_no_text_is_refused():
    tokenizer = mini_tokenizer()
    tokenizer.chat_template = ["{{ messages }}"]
    with pytest.raises(ValueError, match="is no text but list"):
        Template(tokenizer)
