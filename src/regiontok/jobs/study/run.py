"""A study carried out: every setting trained and asked, seed by seed, so that it can be stopped.

It runs on `train`, `answer`, `score` and `focus`, as anybody would run them by hand::

    OUT/plan.json                    the plan, by which a later call knows its own
    OUT/features/                    the frozen encoder's features
    OUT/models/SETTING/seed0/        a training run
    OUT/answers/SETTING/seed0/       the answers of its model
    OUT/focus/SETTING/seed0/         the attention of answers on what is asked about

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.jobs.answer.plan import AnswerOptions, AnswerPlan
from regiontok.jobs.answer.run import answer
from regiontok.jobs.chat.comparison import ComparedModel
from regiontok.jobs.focus.run import FocusRun, measure_focus
from regiontok.jobs.report.runs import score_run
from regiontok.jobs.study.plan import Setting, StudyPlan
from regiontok.jobs.tokenize.names import slug
from regiontok.settings.recipe import to_toml
from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing
from regiontok.system.strict_json import json_bytes, parse_json
from regiontok.train import run as training
from regiontok.train.folder import TrainFolder
from regiontok.train.options import TrainOptions

BENCH = "miniworld"
BATCH = 32  # questions that are asked together
FOCUS = "focus"  # the score of attention, beside those of answers
# what one object is like: the answer is one word, and what it looks at is plain
FOCUS_KINDS = "colour,shape,size,material"


class StudyError(RegiontokError, ValueError):
    """A study cannot go on: its folder is another's, or a model's training ended early."""


@dataclass(frozen=True)
class Outcome:
    """What one trained model reached.

    Attributes:
        setting: name of the setting.
        seed: number of the repetition.
        scores: per cent right, by kind of question, and their mean under "miniworld"; under "focus"
            the per cent of the answers' attention that is on what they are about, where it was
            measured.
        tokens: mean visual tokens of a picture.
        questions: number of questions that were asked.
    """

    setting: str
    seed: int
    scores: dict[str, float]
    tokens: float
    questions: int

    @property
    def mean(self) -> float:
        """Per cent right over all kinds of questions."""
        return self.scores[BENCH]


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How a study is carried out.

    Attributes:
        device: where models are trained and asked.
        only: names of the settings that are carried out; all if none is named.
        tell: called with every entry of a training's log.
    """

    device: str = "cpu"
    only: tuple[str, ...] = ()
    tell: Callable[[dict[str, Any]], None] = lambda entry: None


def steps_of(plan: StudyPlan, options: StudyOptions) -> Iterator[tuple[Setting, int]]:
    """Every setting with every seed, seed by seed: a stopped study has whole tables of fewer."""
    for seed in range(plan.seeds):
        for setting in plan.setting:
            if not options.only or setting.name in options.only:
                yield setting, seed


def check_only(plan: StudyPlan, options: StudyOptions) -> None:
    """Refuse names of settings that the plan does not have.

    Raises:
        StudyError: If there is one.
    """
    for name in options.only:
        if name not in plan.settings_by_name:
            raise StudyError(
                f"{plan.name} has no setting {name!r}{nearest(name, plan.settings_by_name, most=3)}"
            )


def outcomes_of(
    plan: StudyPlan, out: Path, options: StudyOptions, *, resume: bool = False
) -> Iterator[Outcome]:
    """Train and ask what is not done yet, and score everything, one outcome after the other.

    Args:
        plan: the study.
        out: its folder.
        options: how it is carried out.
        resume: go on where an earlier call stopped.

    Raises:
        StudyError: If the folder holds a study of other settings, or one without `resume`, or a
            training ended early.
        KeyboardInterrupt: If a training was interrupted; its checkpoint is kept.
    """
    _claim(plan, out, resume=resume)
    for setting, seed in steps_of(plan, options):
        model = _trained(plan, setting, seed, out, options)
        yield _asked(plan, setting, seed, model, out, options)


def _claim(plan: StudyPlan, out: Path, *, resume: bool) -> None:
    """Write the plan into a new folder, or see that the folder's is the same but for the seeds."""
    path = out / "plan.json"
    described = {name: value for name, value in plan.model_dump().items() if name != "seeds"}
    if path.is_file():
        if not resume:
            raise StudyError(f"{out} holds a study: say --resume to go on, or name another folder")
        if parse_json(path.read_text(encoding="utf-8")) != json.loads(json.dumps(described)):
            raise StudyError(f"{out} holds a study of another plan: name another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(json_bytes(described, indent=1))


def _place(out: Path, part: str, name: str, seed: int) -> Path:
    return out / part / slug(name) / f"seed{seed}"


def _trained(
    plan: StudyPlan, setting: Setting, seed: int, out: Path, options: StudyOptions
) -> Path:
    """The folder of a setting's model, trained from where an earlier call left it."""
    folder = _place(out, "models", setting.model, seed)
    recipe = plan.recipe_of(setting, seed)
    last = len(recipe.stage) - 1
    model = TrainFolder(folder).stage_model(last, recipe.stage[last].name)
    if model.is_dir():
        return model
    result = training.train(
        recipe,
        folder,
        options=TrainOptions(
            device=options.device, cache=str(out / "features"), save_every=200, keep=1
        ),
        resume=folder.is_dir(),
        recipe_text=to_toml(recipe),
        tell=options.tell,
    )
    if result["interrupted"]:
        raise KeyboardInterrupt
    if result["stopped"]:
        raise StudyError(f"{setting.model}, seed {seed}: {result['stopped']}")
    return model


def _asked(
    plan: StudyPlan, setting: Setting, seed: int, model: Path, out: Path, options: StudyOptions
) -> Outcome:
    """The outcome of a setting's model; what is answered already is not asked again."""
    as_trained = not (setting.asked or setting.blind)
    name = setting.model if as_trained else setting.name  # one answering serves several settings
    folder = _place(out, "answers", name, seed)
    asked = AnswerPlan.of(
        AnswerOptions(
            model=str(model),
            bench=f"{BENCH}({plan.pictures}, size={plan.size})",
            data=None,
            name=name,
            blind=setting.blind,
            changes=tuple(setting.asked),
            device=options.device,
            batch=BATCH,
        )
    )
    counts = answer(asked, folder, resume=True)
    if counts.failed:
        reason = next(iter(counts.failed.values()))
        raise StudyError(f"{setting.name}, seed {seed}: {len(counts.failed)} unanswered: {reason}")
    scored = score_run(folder, resamples=0)
    scores = {name: value.value for name, value in scored.score.values.items()}
    if plan.focus and as_trained:
        scores[FOCUS] = _focus(plan, name, seed, model, out, options)
    return Outcome(setting.name, seed, scores, scored.cost.tokens, len(scored.run.answers))


def _focus(
    plan: StudyPlan, name: str, seed: int, model: Path, out: Path, options: StudyOptions
) -> float:
    """Per cent of the attention of a model's answers that is on the object that is asked about."""
    run = FocusRun(
        models=[ComparedModel(name, "", str(model))],
        data=f"world({plan.focus}, split='test', size={plan.size}, kinds='{FOCUS_KINDS}')",
        out=_place(out, "focus", name, seed),
        device=options.device,
    )
    (entry,) = measure_focus(run, run.questions())["models"].values()
    return 100 * float(entry["focus"])
