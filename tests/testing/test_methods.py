"""What `check_method` finds in a registered method, and in the docstring of its module."""

from __future__ import annotations

import pytest

from regiontok.settings import registry
from regiontok.testing import check_method
from regiontok.testing.methods import check_docstring


def test_a_registered_method_is_checked_by_its_spec_too():
    check_method("connector", "mlp")
    check_method("step", "drop(below=2)", partition=False)
    with pytest.raises(AssertionError, match="unknown kind of method 'filter'"):
        check_method("filter", "mlp")


@pytest.mark.parametrize(
    ("docstring", "message"),
    [
        ("", "has no docstring"),
        ("One line.\nAfter: x.\nDiffers: y.", "must be one sentence, followed by a blank line"),
        (f"{'Long ' * 20}.\n\nAfter: x.\nDiffers: y.", "longer than 100 characters"),
        ("One line.\n\nDiffers: y.", "does not say where it comes from"),
        ("One line.\n\nAfter: x. Differs: y.", "does not say how it differs"),
    ],
)
def test_a_docstring_says_what_after_whom_and_how_it_differs(
    docstring, message, tmp_path, monkeypatch
):
    source = f'"""{docstring}"""\nfrom regiontok.steps.drop import Drop\n\nclass Mine(Drop): ...\n'
    name = f"plug_in_{abs(hash(docstring))}"
    (tmp_path / f"{name}.py").write_text(source if docstring else source.split("\n", 1)[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._REGISTERED["step"], "mine", f"{name}:Mine")
    with pytest.raises(AssertionError, match=message):
        check_docstring("step", "mine")
