"""The closed vocabulary: the world's questions in few entries, every text without loss."""

from __future__ import annotations

from transformers import AutoTokenizer

from regiontok.data.labels import Labeller
from regiontok.data.records import read
from regiontok.model.mini import mini_language_model, mini_tokenizer
from regiontok.model.world_vocabulary import phrases, words
from regiontok.settings.recipe import Data

WORLD = mini_tokenizer("world")
BYTES = mini_tokenizer()


def test_questions_are_a_few_entries_and_are_not_spelled():
    kinds = "presence_random,count,left_right,nearer,closer_to,colour,shape,size,material,reading"
    source = (
        f"world(24, size=128, captions=False, kinds='{kinds},attribute_swap,word_order,column')"
    )
    records = read([Data(records=source)])
    labeller, plain = (
        Labeller(tokenizer, placeholder=3, independent=True) for tokenizer in (WORLD, BYTES)
    )
    spelled, count, bytes_count, questions = set(), 0, 0, 0
    for record in records:
        row = labeller.row(record.turns)
        spelled |= {WORLD.decode([number]) for number in row.ids if 4 <= number < 260}
        count, questions = count + len(row.ids), questions + len(record.turns) // 2
        bytes_count += len(plain.row(record.turns).ids)
        assert WORLD.decode(row.ids) == WORLD.decode(WORLD(WORLD.decode(row.ids)).input_ids)
    assert spelled <= set("\nABCDE?.01234567")
    assert count < 16 * questions
    assert count < bytes_count / 9


def test_any_text_comes_back_and_codes_are_letters():
    for text in (
        "KXQA",
        "a redder ring,  circles",
        "ümläut\t<b>\r\n«»",
        "",
        " ",
        "ringer Is there ab",
    ):
        assert WORLD.decode(WORLD(text).input_ids) == text
    assert len(WORLD("KX7Q").input_ids) == 4
    assert [WORLD.decode([number]) for number in WORLD(" red rings").input_ids] == [
        " red",
        " rings",
    ]
    # a phrase ends where a word does
    assert WORLD.convert_ids_to_tokens(WORLD("Is there another").input_ids)[0] != "Is there an"


def test_entries_are_their_own_and_bytes_stay_as_they_were():
    entries = [*phrases(), *words()]
    assert len(WORLD) < 600
    assert all(len(WORLD(entry).input_ids) == 1 for entry in entries)
    vocabulary = WORLD.get_vocab()
    assert all(vocabulary[entry] == number for entry, number in BYTES.get_vocab().items())
    assert len(BYTES) == 260
    assert mini_language_model(vocabulary="world").get_input_embeddings().weight.shape[0] == len(
        WORLD
    )


def test_it_is_saved_as_any_tokenizer(tmp_path):
    WORLD.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "user: <image>\nIs there a red ring in the image?"
    assert again(text).input_ids == WORLD(text).input_ids
    assert again.decode(again(text).input_ids) == text
