"""The jinja texts of templates: LLaVA's by name, and a tokenizer's own that ignores the day.

After: LLaVA-1.5's conversations `plain` and `vicuna_v1` (rows D13, O4).
Differs: what a chat template takes from the day it is rendered on is a constant here: see `DATE`.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from regiontok.system.choices import nearest

# The date that chat templates write (Llama 3.x: "Today Date: 26 Jul 2024"), whatever the day:
# training must not depend on it, and a resumed run must be exact. It is the one that Llama 3.1's
# template falls back on.
DATE = date(2024, 7, 26)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
NAMED = ("plain", "vicuna_v1")
# A message's parts as one text, as `RegionVLMProcessor` joins them: a line break stands between a
# picture and the words behind it.
_TEXT_OF = (
    "{%- macro text_of(content) -%}"
    "{%- if content is string -%}{{ content }}{%- else -%}"
    "{%- set joined = namespace(text='') -%}"
    "{%- for part in content -%}{%- if part['type'] == 'text' -%}"
    "{%- if joined.text.endswith('<image>') and not part['text'][:1].isspace() -%}"
    "{%- set joined.text = joined.text + '\\n' -%}{%- endif -%}"
    "{%- set joined.text = joined.text + part['text'] -%}"
    "{%- else -%}{%- set joined.text = joined.text + '<image>' -%}{%- endif -%}"
    "{%- endfor -%}{{ joined.text }}{%- endif -%}{%- endmacro -%}"
)
_PLAIN = (
    _TEXT_OF + "{%- set pictures = '<image>' * text_of(messages[0]['content']).count('<image>') -%}"
    "{%- if not pictures or messages | map(attribute='role') | join(' ') "
    "not in ('user', 'user assistant') -%}"
    "{{ raise_exception('the template plain takes one question with a picture and one caption') }}"
    "{%- endif -%}{{ BEGIN + pictures }}"
    "{%- if messages | length == 2 -%}{{ text_of(messages[1]['content']) + '\\n' }}{%- endif -%}"
)
_VICUNA_V1 = (
    _TEXT_OF + "{{ BEGIN }}"
    "{%- if messages[0]['role'] == 'system' -%}{{ text_of(messages[0]['content']) }}"
    "{%- else -%}{{ SYSTEM }}{%- endif -%}{{ ' ' }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ 'USER: ' + text_of(message['content']) + ' ' }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{ 'ASSISTANT: ' + text_of(message['content']) + END }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
)


def named_template(tokenizer: Any, name: str) -> str:
    """A named template as jinja text, with the tokenizer's special tokens written out.

    Raises:
        ValueError: If the name is unknown, or the tokenizer has no end token for it.
    """
    if name not in NAMED:
        raise ValueError(
            f"unknown template {name!r}{nearest(name, NAMED)}; known: {', '.join(NAMED)}, "
            "or '' for the model's own"
        )
    if name == "vicuna_v1" and not tokenizer.eos_token:
        raise ValueError(
            "the template vicuna_v1 ends answers with the tokenizer's end token, "
            "and this tokenizer has none"
        )
    constants = {
        "BEGIN": begin_token(tokenizer),
        "END": str(tokenizer.eos_token or ""),
        "SYSTEM": VICUNA,
    }
    template = _PLAIN if name == "plain" else _VICUNA_V1
    return (
        "".join(
            f"{{%- set {constant} = {json.dumps(text, ensure_ascii=False)} -%}}"
            for constant, text in constants.items()
            if constant in template
        )
        + template
    )


def own_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, with constants for what it would take from the day.

    Thinking is off in it, if it knows `enable_thinking`: the answers of the records think nothing.
    """
    template = getattr(tokenizer, "chat_template", None)
    template = template.get("default") if isinstance(template, dict) else template
    if template and not isinstance(template, str):
        raise ValueError(
            f"the chat template of this tokenizer is no text but {type(template).__name__}: "
            f"name one of {', '.join(NAMED)} (template = ... in the recipe)"
        )
    if not template:
        raise ValueError(
            "this tokenizer has no chat template: "
            f"name one of {', '.join(NAMED)} (template = ... in the recipe)"
        )
    constants = ""
    if "date_string" in template:
        constants += f"{{% set date_string = '{DATE:%d %b %Y}' %}}\n"
    if "strftime_now" in template:
        replaced = "".join(
            f" | replace('%{directive}', '{text}')" for directive, text in _date_directives()
        )
        constants += (
            f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"
        )
    if "enable_thinking" in template:
        constants += "{% set enable_thinking = false %}\n"
    # a template that was saved after a stage has them already
    return str(template) if template.startswith(constants) else f"{constants}{template}"


def _date_directives() -> list[tuple[str, str]]:
    """What `strftime` writes for each of its directives on `DATE`, at midnight.

    They are written out here: `strftime` itself follows the locale.
    """
    year, month, day = DATE.year, DATE.month, DATE.day
    return [
        ("-d", f"{day}"),
        ("-m", f"{month}"),
        ("d", f"{day:02}"),
        ("e", f"{day:2}"),
        ("m", f"{month:02}"),
        ("y", f"{year % 100:02}"),
        ("Y", f"{year}"),
        ("b", "Jul"),
        ("B", "July"),
        ("a", "Fri"),
        ("A", "Friday"),
        ("j", f"{DATE.timetuple().tm_yday:03}"),
        ("F", DATE.isoformat()),
        ("H", "00"),
        ("I", "12"),
        ("M", "00"),
        ("S", "00"),
        ("p", "AM"),
    ]


def begin_token(tokenizer: Any) -> str:
    """The begin token, if the tokenizer puts it in front of texts by itself."""
    ids = tokenizer("a").input_ids
    begins = tokenizer.bos_token_id is not None and ids and ids[0] == tokenizer.bos_token_id
    return str(tokenizer.bos_token) if begins else ""
