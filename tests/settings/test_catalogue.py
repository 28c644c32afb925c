"""Encoders by name: what names stand for, and which encoder reads a folder or a hub name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm

from regiontok.settings import registry, spec
from regiontok.settings.catalogue import CATALOGUE, SPECS, encoder_call, encoder_of_checkpoint
from regiontok.settings.recipe import resolve
from regiontok.system import hub
from regiontok.tokenizer.regionizer import build_encoder

NAMES = [entry.name for entry in CATALOGUE]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def store(
    cache: Path, model: str, *, config: dict | None = None, files: tuple[str, ...] = ()
) -> Path:
    """A model in a cache as the hub's library lays it out.

    refs/main names the snapshot, whose files link into blobs.
    """
    root = cache / f"models--{model.replace('/', '--')}"
    folder = root / "snapshots" / "abc123"
    for path in (folder, root / "refs", root / "blobs"):
        path.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("abc123")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    for name in files:
        (root / "blobs" / name).write_bytes(b"{}")
        (folder / name).symlink_to(root / "blobs" / name)
    return folder


class TestNames:
    def test_no_name_twice_and_none_is_a_methods(self):
        assert len(set(NAMES)) == len(NAMES)
        assert set(SPECS) == set(NAMES) - {"lite", "filters"}
        assert all("-" in name for name in SPECS)
        assert not set(SPECS) & set(registry.names("encoder"))

    @pytest.mark.parametrize("name", NAMES)
    def test_every_name_reads_as_one_word_and_stands_for_a_method(self, name):
        (call,) = spec.parse(name)
        assert call == spec.Call(name)
        meant = registry.expand("encoder", call)
        assert meant.name in {"lite", "filters", "transformers", "radio", "naflex", "timm"}
        if meant.name in registry.names("encoder"):  # built without reading a file
            assert registry.render(registry.build("encoder", name)) == next(
                entry.spec for entry in CATALOGUE if entry.name == name
            )

    def test_the_families_of_row_d1_are_there(self):
        wanted = (
            "clip-l14-336 siglip2-so400m-384 siglip2-so400m-naflex dinov2-l dinov2-l-reg dinov3-l "
            "aimv2-l14-448 mlcd-l14-336 rice-l14-560 pe-core-l14-336 c-radio-v3-l lite filters"
        )
        radio = [f"radio-{letter}-{size}" for letter in "blh" for size in (384, 576, 768)]
        assert {*wanted.split(), *radio} <= set(NAMES)

    def test_tokens_are_patches_and_prefix(self):
        tokens = {entry.name: entry.tokens for entry in CATALOGUE}
        assert tokens["clip-l14-336"] == 577
        assert tokens["siglip2-so400m-384"] == 729
        assert tokens["dinov2-l-reg"] == 261
        assert tokens["c-radio-v3-l"] == 1032
        assert tokens["radio-l-384"] is None  # its registers are known once the weights are read
        assert tokens["siglip2-so400m-naflex"] is None

    @pytest.mark.parametrize("name", ["lite", "filters"])
    def test_what_needs_no_hub_is_as_the_catalogue_says(self, name):
        entry = next(entry for entry in CATALOGUE if entry.name == name)
        encoder = build_encoder(name)
        assert (encoder.frame((300, 400)).grid, encoder.width, encoder.threshold) == (
            entry.grid,
            entry.width,
            entry.threshold,
        )

    @pytest.mark.parametrize(
        "entry",
        [entry for entry in CATALOGUE if entry.spec.startswith("timm(")],
        ids=lambda entry: entry.name,
    )
    def test_timms_own_list_agrees(self, entry):
        said = timm.get_pretrained_cfg(entry.hub.removeprefix("timm/"))
        patch = 14
        assert tuple(side // patch for side in said.input_size[1:]) == entry.grid
        assert said.license.lower() == entry.licence.lower()


class TestSpecs:
    def test_arguments_are_added_to_what_a_name_stands_for(self):
        built = build_encoder("clip-l14-336(layer=-2, device='cpu')")
        assert (
            registry.render(built) == "transformers('openai/clip-vit-large-patch14-336', layer=-2)"
        )
        assert (
            str(registry.expand("encoder", spec.parse("radio-l-384(size=768)")[0]))
            == "radio('nvidia/RADIO-L', size=768)"
        )

    def test_names_stand_in_a_pipeline_as_others_do(self):
        calls = spec.parse("dinov2-l | clip-l14-336( layer = -2 ) | merge(k=4)")
        assert [str(call) for call in calls] == ["dinov2-l", "clip-l14-336(layer=-2)", "merge(k=4)"]
        assert [str(call) for call in spec.parse("a('x|y-z') | b-1")] == ["a('x|y-z')", "b-1"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "clip-l14-366",
                r"unknown encoder 'clip-l14-366' \(did you mean 'clip-l14-336'.*\?\); "
                "known: .*lite",
            ),
            ("dino-l", r"did you mean 'dinov\d-l' or 'dinov\d-l'"),
            ("liet", r"did you mean 'lite'"),
            (
                "zzz",
                "unknown encoder 'zzz'; known: filters.* and .* short names: regiontok ls encoders",
            ),
            (
                "clip-l14-336(-2)",
                "clip-l14-336 stands for transformers.*name its further arguments",
            ),
            ("clip-l14-336(layr=-2)", r"no parameter 'layr' \(did you mean 'layer'\?\)"),
            (
                "clip-l14-336(layer=last)",
                r"'last' in the spec 'clip-l14-336\(layer=last\)' is not a plain value; "
                "quote it: 'last'",
            ),
            ("clip-l14-336 * 2", r"cannot read 'clip-l14-336 \* 2'"),
            ("clip-l14-336(layer=-2)(3)", "cannot read"),
            ("clip-l14-336 - x", "cannot read"),
            ("clip - l14", "cannot read 'clip - l14'"),
            ("clip-l14-336(model='a/b')", "multiple values for argument 'model'"),
        ],
    )
    def test_what_is_refused(self, text, message):
        with pytest.raises(spec.SpecError, match=message):
            build_encoder(text)

    def test_a_short_name_is_of_its_kind_only(self):
        with pytest.raises(spec.SpecError, match="unknown step 'dinov2-l'"):
            registry.build("step", "dinov2-l")

    def test_checking_names_loads_nothing_heavy(self):
        code = """
import sys
from regiontok.settings import registry
registry.check("encoder", "clip-l14-336(layer=-2)")
print({"torch", "transformers", "timm", "huggingface_hub"} & set(sys.modules))
"""
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "set()"

    def test_a_recipe_takes_names(self):
        recipe = resolve(
            {"what": "w", "tokenizer": {"encoder": "clip-l14-336(layer=-2)"}}, name="r"
        )
        assert recipe.tokenizer.encoder == "clip-l14-336(layer=-2)"
        with pytest.raises(Exception, match="did you mean 'clip-l14-336'"):
            resolve({"what": "w", "tokenizer": {"encoder": "clip-l14-363(layer=-2)"}}, name="r")


class TestEncoderOfAText:
    @pytest.mark.parametrize(
        ("config", "wanted"),
        [
            ({"model_type": "clip"}, "transformers"),
            ({"model_type": "siglip"}, "transformers"),
            ({"model_type": "siglip2"}, "naflex"),
            ({"model_type": "siglip2_vision_model"}, "naflex"),
            ({"model_type": "radio"}, "radio"),
            (
                {"architectures": ["RADIOModel"], "auto_map": {"AutoModel": "hf_model.RADIOModel"}},
                "radio",
            ),
            (
                {
                    "architecture": "vit_tiny_patch16_224",
                    "pretrained_cfg": {"input_size": [3, 224, 224]},
                },
                "timm",
            ),
            ({}, "transformers"),
        ],
    )
    def test_a_folder_goes_by_its_config(self, tmp_path, config, wanted):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert encoder_of_checkpoint(tmp_path) == wanted
        assert encoder_call(str(tmp_path)) == spec.Call(wanted, (str(tmp_path),))

    @pytest.mark.parametrize("wanted", ["radio", "naflex", "timm", "transformers"])
    def test_a_folder_as_its_library_writes_it(self, tmp_path, wanted):
        library = pytest.importorskip("transformers")
        if wanted == "timm":
            timm.models.save_for_hf(timm.create_model("test_vit"), tmp_path)
        else:
            configs = {
                "radio": library.RadioConfig,
                "naflex": library.Siglip2Config,
                "transformers": library.CLIPConfig,
            }
            configs[wanted]().save_pretrained(tmp_path)
        assert registry.name_of(build_encoder(str(tmp_path))) == wanted

    @pytest.mark.parametrize("text", ["{", "[1]"])
    def test_a_config_that_is_none_is_left_to_transformers(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        assert encoder_of_checkpoint(tmp_path) == "transformers"

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("nvidia/RADIO-L", "radio"),
            ("nvidia/C-RADIOv3-B", "radio"),
            ("google/siglip2-so400m-patch16-naflex", "naflex"),
            ("google/siglip2-so400m-patch14-384", "transformers"),
            ("timm/vit_tiny_patch16_224.augreg_in21k", "timm"),
            ("some/model", "transformers"),
            ("no/such/folder", "transformers"),
        ],
    )
    def test_a_hub_name_that_is_not_here_goes_by_the_catalogue(self, cache, name, wanted):
        assert encoder_call(name) == spec.Call(wanted, (name,))

    def test_a_hub_name_in_the_cache_goes_by_its_config(self, cache):
        store(cache, "some/model", config={"model_type": "radio"})
        assert encoder_call("some/model") == spec.Call("radio", ("some/model",))

    def test_specs_and_names_stay(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "lite").mkdir()  # a folder of that name does not take a method's place
        (tmp_path / "mine").mkdir()
        assert encoder_call("lite") == "lite"
        assert encoder_call("dinov2-l") == "dinov2-l"
        assert encoder_call("radio('a/b', size=384)") == "radio('a/b', size=384)"
        assert encoder_call("nothing") == "nothing"
        assert encoder_call("mine") == spec.Call("transformers", ("mine",))


CONFIG = {"model_type": "clip"}


class TestAvailability:
    def test_a_whole_checkpoint(self, cache):
        folder = store(cache, "a/b", config=CONFIG, files=("model.safetensors",))
        assert hub.cached_folder("a/b") == folder
        assert hub.availability("a/b") == hub.availability(folder) == "yes"

    def test_parts_do_not_count(self, cache):
        store(cache, "a/config", config=CONFIG)
        store(cache, "a/weights", files=("model.safetensors",))
        store(cache, "a/pickle", config=CONFIG, files=("pytorch_model.bin",))
        (store(cache, "a/dangling", config=CONFIG) / "model.safetensors").symlink_to(cache / "gone")
        assert [
            hub.availability(f"a/{name}") for name in ("config", "weights", "pickle", "dangling")
        ] == ["partly"] * 4
        assert hub.availability("a/none") == "no"
        assert hub.cached_folder("a/none") is None

    def test_shards(self, cache):
        index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}
        folder = store(cache, "a/b", config=CONFIG, files=("model-1.safetensors",))
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        assert hub.availability("a/b") == "partly"
        store(cache, "a/b", files=("model-2.safetensors",))
        assert hub.availability("a/b") == "yes"
        (folder / "model.safetensors.index.json").write_text("{")
        assert hub.availability("a/b") == "partly"

    def test_where_the_cache_lies(self, monkeypatch, tmp_path):
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        assert hub.cache_folder() == Path.home() / ".cache" / "huggingface" / "hub"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert hub.cache_folder() == tmp_path / "x" / "huggingface" / "hub"
        monkeypatch.setenv("HF_HOME", str(tmp_path / "h"))
        assert hub.cache_folder() == tmp_path / "h" / "hub"
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "c"))
        assert hub.cache_folder() == tmp_path / "c"

    def test_as_the_hubs_own_library_sees_it(self, cache):
        library = pytest.importorskip("huggingface_hub")
        folder = store(cache, "a/b", config=CONFIG, files=("model.safetensors",))
        path = library.try_to_load_from_cache(
            "a/b", "model.safetensors", cache_dir=hub.cache_folder()
        )
        assert Path(path) == folder / "model.safetensors"
