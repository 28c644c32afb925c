"""`check`: what is found on a machine, what is broken, and how it can be mended."""

from __future__ import annotations

from importlib import metadata

import pytest

from regiontok.jobs.check import machine
from regiontok.jobs.check.machine import (
    Finding,
    broken,
    check_machine,
    machine_report,
    try_small_run,
)


@pytest.fixture
def installed(monkeypatch):
    """The versions of the packages that seem to be installed; empty at first."""

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    versions: dict[str, str] = {}
    monkeypatch.setattr(machine.metadata, "version", version)
    return versions


def test_this_machine_works(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    findings = check_machine()
    assert broken(findings) == []
    assert {finding.group for finding in findings} >= {
        "machine",
        "packages",
        "devices",
        "encoders",
        "segmenters",
        "caches",
    }
    report = machine_report(findings)
    assert report["broken"] == []
    assert report["encoders"]["here"]["value"] == "lite, filters, mini-rice, mini-whole"
    assert "clip-l14-336" in report["encoders"]["not here"]["value"]
    assert "sam('facebook/sam2.1-hiera-large')" in report["segmenters"]["not here"]["value"]
    assert "576 patches" in report["a small run"]["lite"]["value"]
    assert "GiB free" in report["caches"]["hub"]["value"]
    assert "cores" in report["devices"]["cpu"]["value"]


def test_requirements(installed):
    installed |= {
        "numpy": "1.26.4",
        "torch": "2.11",
        "transformers": "5.17.2",
        "pillow": "12.0.0rc1",
    }
    requirements = [
        "numpy>=2.0",
        "torch>=2.11",
        "pillow>=12.0",
        "numba>=0.60",
        "transformers>=5.17; extra == 'hub'",
        "av>=18; extra == 'video'",
        "pytest>=8; extra == 'dev'",
        "odd-one==0.1.0",
    ]
    findings = {
        (finding.group, finding.name): finding for finding in machine._packages(requirements)
    }
    assert findings["packages", "numpy"] == Finding(
        "packages", "numpy", "1.26.4 is older than 2.0:", "broken", "pip install 'numpy>=2.0'"
    )
    assert findings["packages", "torch"].state == findings["packages", "pillow"].state == "ok"
    assert findings["packages", "numba"].state == findings["packages", "odd-one"].state == "broken"
    assert findings["extra hub", "transformers"].state == "ok"
    assert findings["extra hub", "transformers for encoders and SAM"].state == "ok"
    tokens = findings["extra hub", "transformers for ready-made visual tokens"]
    assert (tokens.state, tokens.hint) == ("absent", "pip install 'transformers>=5.18'")
    assert findings["extra video", "av"] == Finding(
        "extra video", "av", "not installed:", "absent", "pip install 'regiontok[video]'"
    )
    assert not any(name == "pytest" for _, name in findings)


def test_no_transformers_is_absent_and_not_broken(installed):
    (finding,) = machine._packages(["transformers>=5.17; extra == 'hub'"])
    assert (finding.state, finding.hint) == ("absent", "pip install 'regiontok[hub]'")


@pytest.mark.parametrize(
    ("version", "release"),
    [("5.18.0.dev1", (5, 18, 0)), ("2.11+cu130", (2, 11)), ("unknown", ())],
)
def test_the_release_of_a_version(version, release):
    assert machine._release(version) == release


def test_a_run_that_fails_is_broken():
    (finding,) = try_small_run("lite", "mrege(0.5)")
    assert finding.state == "broken"
    assert "did you mean 'merge'" in finding.value
    assert broken([finding]) == [finding]
    assert machine_report([finding])["broken"] == ["lite"]


def cache_of_numba():
    return {finding.name: finding for finding in machine._caches()}["numba"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file))
    assert cache_of_numba().state == "absent"
    assert "set NUMBA_CACHE_DIR" in cache_of_numba().hint
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet"))
    assert cache_of_numba().state == "ok"


def test_models_are_listed_by_where_they_are():
    models = [("a", "yes"), ("b", "no"), ("c", "partly"), ("d", "yes")]
    findings = machine._models_by_place("encoders", models, "fetch")
    assert [(finding.name, finding.value, finding.state, finding.hint) for finding in findings] == [
        ("here", "a, d", "ok", ""),
        ("in part, or without safetensors", "c", "absent", "(fetch)"),
        ("not here", "b", "absent", "(fetch)"),
    ]
