"""What a study compares: settings, the findings that they are of, and how each is trained.

A plan is a TOML file::

    what = "Patches against clusters"
    recipe = "miniworld/patch"             # what settings change
    start = "mini-patch"                   # a trained model that all go on from; "" trains anew
    seeds = 5
    pictures = 400                         # of the test split that is asked about
    [[stage]] ...                          # in place of the recipe's stages
    [[setting]]
    name = "clusters"
    changes = ["tokenizer.regions=merge(k=48)"]
    [[setting]]
    name = "clusters, random order"
    trained = "clusters"                   # asks the model of another setting ...
    asked = ["regions=merge(k=48) | sort('random')"]      # ... in another way
    [[finding]]
    title = "Clusters do as well as patches"
    baseline = "patches"
    settings = ["patches", "clusters"]

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError

from regiontok.jobs.tokenize.names import slug
from regiontok.settings.base import NotNegative, Positive, Settings
from regiontok.settings.checks import first_problem
from regiontok.settings.recipe import (
    ModelSettings,
    Recipe,
    RecipeError,
    Stage,
    changed,
    load_recipe,
)
from regiontok.system.choices import nearest

FOLDER = Path(__file__).parent / "plans"


class Setting(Settings):
    """One way to make visual tokens, and to train with them.

    Attributes:
        name: its name in tables.
        recipe: the recipe that it changes; "" is the plan's.
        changes: changes of that recipe, such as "tokenizer.pool=attend".
        start: the trained model that it goes on from; "" is the plan's.
        trained: the setting whose trained model is asked; "" trains a model of its own.
        asked: changes of the tokenizer when the model is asked, such as "regions=sort('random')".
        blind: whether it is asked without pictures.
    """

    name: str
    recipe: str = ""
    changes: list[str] = Field(default=[])
    start: str = ""
    trained: str = ""
    asked: list[str] = Field(default=[])
    blind: bool = False

    @property
    def model(self) -> str:
        """The name of the setting whose training it needs."""
        return self.trained or self.name


class Finding(Settings):
    """A question that some settings answer.

    Attributes:
        title: what is asked.
        paper: what the paper found, with its figures.
        baseline: the setting that all others are compared with.
        settings: the settings, in the order of the table.
        columns: the scores that the table shows beside the mean of all kinds; all if none are
            named.
        frontier: whether settings are budgets of tokens, named "METHOD TOKENS", and are drawn as
            accuracy against tokens.
    """

    title: str
    paper: str = ""
    baseline: str
    settings: list[str]
    columns: list[str] = Field(default=[])
    frontier: bool = False


class StudyPlan(Settings):
    """A study.

    Attributes:
        name: name of its file.
        what: what it is, in a line.
        recipe: the recipe that settings change.
        start: folder or shipped name of a trained model that all settings go on from; "" trains
            afresh.
        seeds: how often each setting is trained.
        pictures: pictures of the test split that are asked about, the first ones.
        size: their side in pixels.
        focus: pictures of the test split on which the focus of the answers is measured (row D16);
            0 measures none.
        stage: stages in place of the recipe's; none takes those.
        setting: the settings.
        finding: what they are compared for.
    """

    name: str
    what: str
    recipe: str
    start: str = ""
    seeds: Positive = 5
    pictures: Positive = 400
    size: Positive = 192
    focus: NotNegative = 0
    stage: list[Stage] = Field(default=[])
    setting: list[Setting]
    finding: list[Finding]

    @cached_property
    def settings_by_name(self) -> dict[str, Setting]:
        """The settings by their names."""
        return {setting.name: setting for setting in self.setting}

    def check(self) -> None:
        """Read every recipe, and see that names fit, before anything is trained.

        Raises:
            RecipeError: If a name is unknown or there twice, a recipe cannot be read, or a finding
                lacks its baseline.
        """
        names = [setting.name for setting in self.setting]
        if len({slug(name) for name in names}) < len(names):
            raise RecipeError(f"{self.name}: settings need different names, got {names}")
        for setting in self.setting:
            self._check_known(setting.model, f"setting {setting.name!r}")
            if self.settings_by_name[setting.model].trained:
                raise RecipeError(f"{self.name}: {setting.model!r} trains no model of its own")
            changed(self.recipe_of(setting, 0).answering, setting.asked)
        for finding in self.finding:
            for name in (finding.baseline, *finding.settings):
                self._check_known(name, f"finding {finding.title!r}")
            if finding.baseline not in finding.settings:
                raise RecipeError(f"{self.name}: {finding.title!r} lacks its baseline")

    def _check_known(self, name: str, where: str) -> None:
        known = self.settings_by_name
        if name not in known:
            raise RecipeError(
                f"{self.name}: {where} names no setting {name!r}{nearest(name, known, most=3)}"
            )

    def recipe_of(self, setting: Setting, seed: int) -> Recipe:
        """The recipe by which a setting's model is trained.

        Args:
            setting: the setting.
            seed: number of the repetition, which seeds weights, order and what steps draw.
        """
        trained = self.settings_by_name[setting.model]
        recipe = load_recipe(trained.recipe or self.recipe, overrides=trained.changes)
        stages = [
            stage.model_copy(update={"seed": stage.seed + seed})
            for stage in self.stage or recipe.stage
        ]
        start = trained.start or self.start
        model = (recipe.model or ModelSettings()).model_copy(update={"start": start})
        tokenizer = recipe.tokenizer.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"stage": stages, "model": model, "tokenizer": tokenizer})

    def from_scratch(self) -> StudyPlan:
        """The plan with every setting trained from random weights, by all stages of its recipe."""
        settings = [setting.model_copy(update={"start": ""}) for setting in self.setting]
        return self.model_copy(update={"start": "", "stage": [], "setting": settings})

    def with_seeds(self, seeds: int) -> StudyPlan:
        """The plan with another number of seeds; 0 keeps its own."""
        return self.model_copy(update={"seeds": seeds}) if seeds else self


def plans() -> dict[str, Path]:
    """The files of the plans that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load_plan(plan: str | Path) -> StudyPlan:
    """Read a plan and check it.

    Args:
        plan: a TOML file, or the name of a plan that comes with the package.

    Raises:
        RecipeError: If the file is missing or no TOML, a key is unknown, a value has the wrong
            type, or see `StudyPlan.check`.

    >>> load_plan("full").seeds
    5
    """
    known = plans()
    path = known.get(str(plan), Path(plan).expanduser())
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        loaded = StudyPlan(**{"name": path.stem, **table})
    except OSError:
        raise RecipeError(f"no plan {str(plan)!r}{nearest(str(plan), known, most=3)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        raise RecipeError(f"{path.stem}: {first_problem(error, StudyPlan)}") from None
    loaded.check()
    return loaded
