"""A study of tiny models from training to tables: stopped, gone on with, and of another plan."""

from __future__ import annotations

import pytest

from regiontok.jobs.study.plan import StudyPlan
from regiontok.jobs.study.run import StudyError, StudyOptions, check_only, outcomes_of, steps_of

TINY = [
    "tokenizer.encoder=filters(size=112)",
    "model.language_model=mini(width=48, layers=1, heads=2, vocabulary='world')",
]
PLAN = StudyPlan(
    name="tiny",
    what="Two settings",
    recipe="miniworld/clustering",
    seeds=1,
    pictures=3,
    size=128,
    focus=2,
    stage=[
        {
            "name": "tuning",
            "train": ["connector", "language_model"],
            "turns": "independent",
            "naming": 0.5,
            "batch": 2,
            "steps": 2,
            "precision": "fp32",
            "data": [{"records": "world(4, size=128, captions=False)"}],
        }
    ],
    setting=[
        {"name": "clusters", "changes": [*TINY, "tokenizer.regions=merge(k=8)"]},
        {"name": "turned", "trained": "clusters", "asked": ["regions=merge(k=4)"]},
        {"name": "blind", "trained": "clusters", "blind": True},
        {"name": "again", "trained": "clusters"},
    ],
    finding=[
        {"title": "?", "baseline": "clusters", "settings": ["clusters", "turned", "blind", "again"]}
    ],
)


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped(tmp_path):
    options = StudyOptions()
    first = next(iter(outcomes_of(PLAN, tmp_path / "study", options)))
    with pytest.raises(StudyError, match="--resume"):
        next(outcomes_of(PLAN, tmp_path / "study", options))
    models = sorted((tmp_path / "study" / "models").rglob("model.safetensors"))
    before = [path.stat().st_mtime_ns for path in models]
    outcomes = list(outcomes_of(PLAN, tmp_path / "study", options, resume=True))
    assert [outcome.setting for outcome in outcomes] == ["clusters", "turned", "blind", "again"]
    assert outcomes[0] == first
    assert [outcome.tokens for outcome in outcomes[:2]] == [8.0, 4.0]
    # one training serves all three, and is not done again
    assert models == sorted((tmp_path / "study" / "models").rglob("model.safetensors"))
    assert len(models) == 1
    assert [path.stat().st_mtime_ns for path in models] == before
    assert all(0 <= value <= 100 for value in outcomes[0].scores.values())
    assert 0 < outcomes[0].scores["focus"] < 100
    assert all("focus" not in outcome.scores for outcome in outcomes[1:3])
    # a setting that asks a model as it was trained has that model's answers
    assert outcomes[3].scores == outcomes[0].scores
    answered = {path.name for path in (tmp_path / "study" / "answers").iterdir()}
    assert answered == {"clusters", "turned", "blind"}
    other = PLAN.model_copy(update={"pictures": 4})
    with pytest.raises(StudyError, match="another plan"):
        next(outcomes_of(other, tmp_path / "study", options, resume=True))


def test_seeds_follow_each_other_and_unknown_settings_are_refused():
    plan = PLAN.with_seeds(2)
    only = StudyOptions(only=("clusters",))
    assert [(step[0].name, step[1]) for step in steps_of(plan, only)] == [
        ("clusters", 0),
        ("clusters", 1),
    ]
    with pytest.raises(StudyError, match="did you mean 'clusters'"):
        check_only(plan, StudyOptions(only=("cluster",)))
