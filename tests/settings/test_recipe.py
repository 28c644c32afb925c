"""Recipes: what is read, what is overridden, and how a mistake is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from regiontok.settings import registry
from regiontok.settings.recipe import (
    PaperSource,
    Recipe,
    RecipeError,
    TokenizerSettings,
    load_recipe,
    resolve,
    to_toml,
)

TEXT = """
what = "Regions from clustering"

[source]
paper = "diagnostic-study"
table = "Table 1"

[expect]
tokens = 124
"POPE F1" = 86.5

[tokenizer]
encoder = "lite"
regions = "merge(k=124) | sort('com')"

[scale.paper.tokenizer]
encoder = "transformers('openai/clip-vit-large-patch14-336')"
whole = true

[scale.small]
what = "Smaller"
"""


@pytest.fixture(autouse=True)
def _methods(monkeypatch):
    registered = {kind: {} for kind in registry.KINDS}
    registered["step"] = dict.fromkeys(("merge", "sort"), "absent:Absent")
    registered["pool"] = dict.fromkeys(("mean", "attend"), "absent:Absent")
    monkeypatch.setattr(registry, "_REGISTERED", registered)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(TEXT)
    return path


def test_load(file):
    recipe = load_recipe(file)
    assert recipe.name == "cluster"
    assert recipe.scale == "mini"
    assert recipe.source == PaperSource(paper="diagnostic-study", table="Table 1")
    assert recipe.expect == {"tokens": 124.0, "POPE F1": 86.5}
    assert recipe.tokenizer == TokenizerSettings(
        encoder="lite", regions="merge(k=124) | sort('com')"
    )
    assert recipe.tokenizer.pool == "mean"
    with pytest.raises(ValidationError, match="frozen"):
        recipe.tokenizer.pool = "attend"


def test_a_scale_changes_what_it_names(file):
    paper = load_recipe(file, scale="paper")
    assert paper.scale == "paper"
    assert paper.tokenizer.encoder.startswith("transformers")
    assert paper.tokenizer.whole
    assert paper.tokenizer.regions == "merge(k=124) | sort('com')"
    assert paper.what == "Regions from clustering"
    small = load_recipe(str(file), scale="small")
    assert small.what == "Smaller"
    assert small.tokenizer == load_recipe(file).tokenizer


def test_overrides(file):
    overrides = [
        "tokenizer.pool=attend",
        "tokenizer.whole = true",
        "tokenizer.seed=7",
        "tokenizer.regions=merge(0.7) | sort('com')",
        "tokenizer.transforms=",
        "expect.MME=1500",
        'source.row="D5"',
        "name=mine",
    ]
    recipe = load_recipe(file, scale="paper", overrides=overrides)
    settings = recipe.tokenizer
    assert (settings.pool, settings.whole, settings.seed, settings.transforms) == (
        "attend",
        True,
        7,
        "",
    )
    assert settings.regions == "merge(0.7) | sort('com')"
    assert recipe.expect == {"tokens": 124, "POPE F1": 86.5, "MME": 1500}
    assert recipe.source == PaperSource(paper="diagnostic-study", table="Table 1", row="D5")
    assert recipe.name == "mine"
    assert load_recipe(file, overrides=["tokenizer.seed=1", "tokenizer.seed=2"]).tokenizer.seed == 2
    assert (
        load_recipe(file, scale="paper", overrides=["tokenizer.whole=false"]).tokenizer.whole
        is False
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.pool", "expected an override like tokenizer.pool=attend, got 'tokenizer.pool'"),
        ("=5", "expected an override like"),
        ("", "expected an override like"),
        (
            "tokenizer.poool=mean",
            r"unknown key 'tokenizer.poool' \(did you mean 'pool'\?\); known: encoder, segmenter",
        ),
        ("tokeniser.pool=mean", r"unknown key 'tokeniser' \(did you mean 'tokenizer'\?\)"),
        ("tokenizer..pool=mean", "unknown key 'tokenizer.'"),
        ("tokenizer=5", "tokenizer: Input should be a valid"),
        ("what.x=5", "what: Input should be a valid string"),
        ("tokenizer.seed=many", "tokenizer.seed: Input should be a valid integer.*got 'many'"),
        ("tokenizer.seed=1.0", "tokenizer.seed: Input should be a valid integer"),
        ("tokenizer.whole=yes", "tokenizer.whole: Input should be a valid boolean.*got 'yes'"),
        ("tokenizer.whole=1", "tokenizer.whole: Input should be a valid boolean"),
        ("tokenizer.norm=rmss", "tokenizer.norm: Input should be 'none' or 'rms', got 'rmss'"),
        ("tokenizer.encoder=5", "tokenizer.encoder: Input should be a valid string"),
        ("expect.tokens=many", "expect.tokens: Input should be a valid number"),
        ("tokenizer.regions=mrge(0.7)", r"unknown step 'mrge' \(did you mean 'merge'\?\)"),
        ("tokenizer.regions=merge(0.7", "cannot read the spec"),
        ("tokenizer.pool=meen", "unknown pool 'meen' .did you mean 'mean'"),
        ("tokenizer.transforms=zzz", "unknown transform 'zzz'"),
        ("scale=paper", "the scale is chosen when loading"),
        ("scale.paper.tokenizer.seed=5", "the scale is chosen when loading"),
    ],
)
def test_overrides_that_cannot_be(file, override, message):
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(file, overrides=[override])
    assert str(caught.value).startswith("cluster")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"what": None}, "the key 'what' is missing"),
        ({"what": None, "waht": "x"}, r"unknown key 'waht' \(did you mean 'what'\?\)"),
        (
            {"source": {"paper": "p", "tabel": "1"}},
            r"unknown key 'source.tabel' \(did you mean 'table'\?\); known: paper, table, row",
        ),
        ({"source": {}}, "the key 'source.paper' is missing"),
        ({"tokenizer": {"region": ""}}, "did you mean 'regions'"),
        ({"tokenizer": [1]}, "tokenizer: Input should be a valid"),
        ({"expect": 5}, "expect: Input should be a valid dictionary"),
        ({"expect": {"tokens": True}}, "expect.tokens: Input should be a valid number"),
        ({"scale": "paper"}, r"'scale' is a table \(\[scale.paper.tokenizer\], ...\)"),
        (
            {"scale": {"papr": {}}},
            r"unknown scale 'papr' \(did you mean 'paper'\?\); known: mini, small, paper",
        ),
        (
            {"scale": {"paper": 5}},
            r"\[scale.paper\] is a table of what changes at that scale, not 5",
        ),
        ({"scale": {"paper": {"scale": "mini"}}}, "the scale is chosen when loading"),
        # a mistake at a scale that was not asked for
        (
            {"scale": {"paper": {"tokenizer": {"encodr": "x"}}}},
            r"at scale paper: unknown key 'tokenizer.encodr' \(did you mean 'encoder'",
        ),
        ({"scale": {"small": {"tokenizer": {"regions": "mrge(1)"}}}}, "unknown step 'mrge'"),
    ],
)
def test_tables_that_cannot_be(change, message):
    table = {"what": "x", **change}
    with pytest.raises(RecipeError, match=message) as caught:
        resolve({key: value for key, value in table.items() if value is not None}, name="mine")
    assert str(caught.value).startswith("mine")


def test_an_unknown_scale(file):
    with pytest.raises(
        RecipeError,
        match=r"unknown scale 'papr' \(did you mean 'paper'\?\); known: mini, small, paper",
    ):
        load_recipe(file, scale="papr")


def test_a_table_is_left_as_it_was():
    table = {"what": "x", "tokenizer": {"seed": 1}, "scale": {"paper": {"tokenizer": {"seed": 2}}}}
    assert (
        resolve(table, name="a", scale="paper", overrides=["tokenizer.whole=true"]).tokenizer.seed
        == 2
    )
    assert table == {
        "what": "x",
        "tokenizer": {"seed": 1},
        "scale": {"paper": {"tokenizer": {"seed": 2}}},
    }


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "bad.toml"
    with pytest.raises(RecipeError, match=r"bad\.toml: no such recipe"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="not a readable TOML file"):
        load_recipe(tmp_path)
    for content in (
        b"what = ",
        b"what = 1\nwhat = 2",
        b"\xff\xfe",
        b"a = " + b"[" * 100_000,
        b"\0",
    ):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=r"bad\.toml: not a readable TOML file"):
            load_recipe(path)
    path.write_bytes(b"")
    with pytest.raises(RecipeError, match="the key 'what' is missing"):
        load_recipe(path)


def test_the_written_recipe_reads_as_the_same(file, tmp_path):
    copy = tmp_path / "copy.toml"
    for scale in ("mini", "small", "paper"):
        recipe = load_recipe(file, scale=scale, overrides=["tokenizer.seed=3"])
        copy.write_text(to_toml(recipe), encoding="utf-8")
        for again in ("mini", "paper"):
            assert load_recipe(copy, scale=again) == recipe.model_copy(update={"scale": again})


PRINTED = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(
    PRINTED,
    PRINTED,
    st.dictionaries(PRINTED, st.floats(allow_nan=False), max_size=3),
    st.integers(-(2**63), 2**63 - 1),
)
def test_any_text_survives_the_writing(tmp_path_factory, what, row, expect, seed):
    recipe = Recipe(
        name="x",
        what=what,
        source=PaperSource(paper=row, row=what),
        expect=expect,
        tokenizer=TokenizerSettings(encoder=f"hub/{row}".replace("(", ""), seed=seed, whole=True),
    )
    path = tmp_path_factory.mktemp("toml") / "x.toml"
    path.write_bytes(to_toml(recipe).encode())
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "lit"}, "did you mean 'lite'"),
        ({"encoder": "lit(size=336)"}, "did you mean 'lite'"),
        ({"segmenter": "felsenszwalb"}, "did you mean 'felzenszwalb'"),
    ],
)
def test_encoder_and_segmenter_are_checked_by_name(settings, message):
    with pytest.raises(RecipeError, match=message):
        resolve({"what": "w", "tokenizer": settings}, name="r")


def test_a_hub_name_is_no_unknown_encoder():
    assert resolve(
        {"what": "w", "tokenizer": {"encoder": "openai/clip-vit-large-patch14-336"}}, name="r"
    ).tokenizer.encoder


STAGED = """
what = "two stages"
[model]
language_model = "lmsys/vicuna-7b-v1.5"
[[stage]]
name = "alignment"
data = [{ records = "blip.json", images = "pictures" }]
batch = 256
[[stage]]
name = "tuning"
data = [{ records = "mix.json", images = "pictures", weight = 2.0 }]
train = ["connector", "language_model"]
learning_rate = 2e-5
lora = { rank = 8, alpha = 16 }
[scale.mini.model]
language_model = "mini"
[scale.mini.every_stage]
steps = 2
batch = 4
"""


def test_stages_and_what_a_scale_changes_in_each(tmp_path):
    path = tmp_path / "staged.toml"
    path.write_text(STAGED)
    mini, paper = load_recipe(path, scale="mini"), load_recipe(path, scale="paper")
    assert [(stage.steps, stage.batch) for stage in mini.stage] == [(2, 4), (2, 4)]
    assert [(stage.steps, stage.batch) for stage in paper.stage] == [(None, 256), (None, 256)]
    assert (mini.model.language_model, paper.model.language_model) == (
        "mini",
        "lmsys/vicuna-7b-v1.5",
    )
    assert paper.stage[1].lora.rank == 8
    changed = load_recipe(path, scale="paper", overrides=["every_stage.max_length=512"])
    assert [stage.max_length for stage in changed.stage] == [512, 512]


def test_staged_recipe_survives_toml(tmp_path):
    path = tmp_path / "staged.toml"
    path.write_text(STAGED)
    recipe = load_recipe(path, scale="paper")
    again = tmp_path / "again.toml"
    again.write_text(to_toml(recipe))
    assert load_recipe(again, scale="paper") == recipe


def test_a_misspelt_key_of_a_stage_names_the_nearest(tmp_path):
    path = tmp_path / "staged.toml"
    path.write_text(STAGED.replace("batch = 256", "bacth = 256"))
    with pytest.raises(
        RecipeError, match=r"unknown key 'stage\.0\.bacth' \(did you mean 'batch'\?\)"
    ):
        load_recipe(path)


def test_every_stage_without_a_stage_is_an_error(tmp_path):
    path = tmp_path / "none.toml"
    path.write_text('what = "x"\n[every_stage]\nsteps = 2\n')
    with pytest.raises(RecipeError, match="each \\[\\[stage\\]\\]"):
        load_recipe(path)


class TestExtends:
    BASE = """
    what = "A base"
    [source]
    paper = "another"
    [expect]
    tokens = 576
    [tokenizer]
    encoder = "lite"
    norm = "rms"
    [[stage]]
    name = "alignment"
    data = [{ records = "a.json" }]
    [scale.paper.tokenizer]
    encoder = "filters(size=448)"
    """

    @pytest.fixture
    def write(self, tmp_path):
        (tmp_path / "_base.toml").write_text(self.BASE)
        (tmp_path / "_attend.toml").write_text('[tokenizer]\npool = "attend"\nnorm = "none"')

        def written(text):
            path = tmp_path / "row.toml"
            path.write_text(text)
            return path

        return written

    def test_the_file_stands_over_its_base(self, write):
        path = write('extends = "_base.toml"\nwhat = "A row"\n[tokenizer]\npool = "attend"')
        recipe = load_recipe(path)
        assert (recipe.tokenizer.encoder, recipe.tokenizer.norm, recipe.tokenizer.pool) == (
            "lite",
            "rms",
            "attend",
        )
        assert [stage.name for stage in recipe.stage] == ["alignment"]
        assert load_recipe(path, scale="paper").tokenizer.encoder == "filters(size=448)"

    def test_what_a_paper_says_of_the_base_is_not_said_of_the_row(self, write):
        recipe = load_recipe(write('extends = "_base.toml"\nwhat = "A row"'))
        assert (recipe.what, recipe.source, recipe.expect) == ("A row", None, {})
        with pytest.raises(RecipeError, match="the key 'what' is missing"):
            load_recipe(write('extends = "_base.toml"'))

    def test_of_several_the_later_wins(self, write):
        for names, norm in (
            (["_base.toml", "_attend.toml"], "none"),
            (["_attend.toml", "_base.toml"], "rms"),
        ):
            tokenizer = load_recipe(write(f'extends = {names}\nwhat = "A row"')).tokenizer
            assert (tokenizer.encoder, tokenizer.pool, tokenizer.norm) == ("lite", "attend", norm)

    def test_shown_resolved_it_stands_alone(self, write, tmp_path):
        recipe = load_recipe(write('extends = ["_base.toml", "_attend.toml"]\nwhat = "A row"'))
        alone = tmp_path / "elsewhere" / "row.toml"
        alone.parent.mkdir()
        alone.write_text(to_toml(recipe))
        assert "extends" not in alone.read_text()
        assert load_recipe(alone) == recipe

    def test_a_base_may_extend_another(self, write, tmp_path):
        (tmp_path / "_deep.toml").write_text('extends = "_base.toml"\n[tokenizer]\nseed = 3')
        tokenizer = load_recipe(write('extends = "_deep.toml"\nwhat = "A row"')).tokenizer
        assert (tokenizer.norm, tokenizer.seed) == ("rms", 3)

    def test_a_shipped_recipe_is_extended_by_its_name_from_anywhere(self, write, monkeypatch):
        monkeypatch.setattr(registry, "_REGISTERED", {kind: {} for kind in registry.KINDS})
        changes = '[tokenizer]\npool = "attend"\n[every_stage]\nbatch = 8'
        for base in ("train/colour", "study/table1_clip_cluster_rms"):
            recipe = load_recipe(write(f'extends = "{base}"\nwhat = "Mine"\n{changes}'))
            whole = load_recipe(base)
            assert (recipe.name, recipe.what, recipe.expect) == ("row", "Mine", {})
            assert recipe.tokenizer.pool == "attend"
            assert recipe.tokenizer.encoder == whole.tokenizer.encoder
            assert [stage.name for stage in recipe.stage] == [stage.name for stage in whole.stage]

    def test_mistakes_are_told(self, write, tmp_path):
        with pytest.raises(
            RecipeError,
            match=r"row.toml: it extends '_bse.toml', and there is no such file beside it and no "
            r"such shipped recipe \(did you mean '_base.toml'\?\)",
        ):
            load_recipe(write('extends = "_bse.toml"\nwhat = "A row"'))
        for wrong in ("1", "[1]", '""', "{ a = 1 }"):
            with pytest.raises(
                RecipeError, match="extends is a file beside this one or the name of a shipped"
            ):
                load_recipe(write(f'extends = {wrong}\nwhat = "A row"'))
        with pytest.raises(RecipeError, match=r"did you mean 'quick/cluster'"):
            load_recipe(write('extends = "quick/clustr"\nwhat = "A row"'))
        (tmp_path / "_deep.toml").write_text('extends = "row.toml"')
        with pytest.raises(RecipeError, match=r"extends itself \(row.toml -> _deep.toml -> row"):
            load_recipe(write('extends = "_deep.toml"\nwhat = "A row"'))
        (tmp_path / "_wrong.toml").write_text("[tokenizer]\nnrm = 1")
        with pytest.raises(RecipeError, match=r"unknown key 'tokenizer.nrm' \(did you mean 'norm'"):
            load_recipe(write('extends = "_wrong.toml"\nwhat = "A row"'))
        with pytest.raises(RecipeError, match="unknown key 'extends'"):
            resolve({"what": "A row", "extends": "_base.toml"}, name="row")


class TestInference:
    def test_what_it_does_not_say_is_as_trained(self):
        table = {
            "what": "x",
            "tokenizer": {"norm": "rms", "regions": "merge(0.5)"},
            "inference": {"tokenizer": {"regions": "sort('random')"}},
            "scale": {
                "paper": {"tokenizer": {"encoder": "a/b"}},
                "small": {"inference": {"tokenizer": {"cls": True}}},
            },
        }
        recipe = resolve(table, name="x", scale="paper")
        assert recipe.tokenizer.regions == "merge(0.5)"
        assert recipe.answering == TokenizerSettings(
            encoder="a/b", norm="rms", regions="sort('random')"
        )
        assert resolve(table, name="x", scale="small").answering.cls
        assert resolve({"what": "x"}, name="x").answering == TokenizerSettings()

    def test_round_trip(self, tmp_path):
        recipe = resolve(
            {"what": "x", "inference": {"tokenizer": {"regions": "merge(0.5)"}}}, name="x"
        )
        path = tmp_path / "x.toml"
        path.write_text(to_toml(recipe))
        assert load_recipe(path) == recipe

    @pytest.mark.parametrize(("key", "value"), [("pool", "attend"), ("norm", "rms")])
    def test_what_has_weights_is_trained(self, key, value):
        with pytest.raises(
            RecipeError,
            match=rf"x: inference.tokenizer.{key} is '{value}', but the model is trained with",
        ):
            resolve({"what": "x", "inference": {"tokenizer": {key: value}}}, name="x")

    def test_mistakes_are_told(self):
        for wrong, said in (
            ({"regions": ""}, "unknown key 'inference.regions'; known: tokenizer"),
            (
                {"tokenizer": {"region": ""}},
                "unknown key 'inference.tokenizer.region' .did you mean 'regions'",
            ),
            ({"tokenizer": {"regions": "mrge(0.5)"}}, "did you mean 'merge'"),
            ({"tokenizer": 1}, "inference.tokenizer"),
            (1, "inference"),
        ):
            with pytest.raises(RecipeError, match=said):
                resolve({"what": "x", "inference": wrong}, name="x")
