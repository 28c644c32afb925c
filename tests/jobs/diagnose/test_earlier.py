"""The results of a diagnosis are replaced by those of the same one, and no other."""

from __future__ import annotations

import json

import pytest

from regiontok.jobs.diagnose.earlier import OtherDiagnosis, check_results

SETTINGS = {"seed": 0, "segmenter": "felzenszwalb"}


@pytest.fixture
def folder(tmp_path):
    """A folder with the results of one encoder."""
    results = {"rows": [{"fingerprint": "a"}], "photos": {"hash": "p"}, "settings": SETTINGS}
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


def check(folder, *, encoders=("a",), photos="p", settings=SETTINGS, overwrite=False):
    check_results(folder, encoders, photos, settings, overwrite=overwrite)


def test_the_same_diagnosis_and_one_of_more_encoders_may_write(folder, tmp_path):
    check(folder)
    check(folder, encoders=("b", "a"))
    check(folder, photos=None)
    check(tmp_path / "new", encoders=("c",))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"encoders": ("b",)}, "an encoder that is not named now"),
        ({"photos": "q"}, "photos 'p', now 'q'"),
        ({"settings": {**SETTINGS, "seed": 1}}, "seed 0, now 1"),
    ],
)
def test_another_diagnosis_is_refused_unless_it_may_overwrite(folder, changed, reason):
    with pytest.raises(OtherDiagnosis, match=f"{reason}.*; replace it with --overwrite"):
        check(folder, **changed)
    check(folder, **changed, overwrite=True)


@pytest.mark.parametrize("content", ["mine", "[]", '{"rows": 3}'])
def test_a_file_that_is_no_diagnosis_is_never_replaced(folder, content):
    (folder / "results.json").write_text(content)
    with pytest.raises(OtherDiagnosis, match=r"results\.json is there and is no diagnosis"):
        check(folder, overwrite=True)
