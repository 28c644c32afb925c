"""Fixtures of the viewer's tests in a real browser: a server of its own, and Chromium."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from regiontok.model.conversation import open_conversation_model
from samples.answers import write_run as write_answers
from samples.viewer import ENCODER, write_model, write_photo, write_run
from samples.viewer_server import Server, start_server


@pytest.fixture(scope="session")
def shown(tmp_path_factory) -> Path:
    """Photos, one of them with a hostile name, a run, a model that talks, and answers of it."""
    folder = tmp_path_factory.mktemp("shown")
    write_photo(folder / "photos" / "a.png", 1)
    write_photo(folder / "photos" / "<img src=x onerror=document.title=1>.png", 2)
    write_run(folder / "run")
    looking = open_conversation_model(str(write_model(folder / "model")))
    with torch.no_grad():  # random weights look everywhere alike: this makes them choose
        for name, parameter in looking.model.named_parameters():
            parameter.mul_(50 if "q_proj" in name else 1)
    write_answers(folder / "answers", "pope", lambda question: "yes it is", looking=looking)
    return folder


@pytest.fixture(scope="session")
def server(shown) -> Iterator[Server]:
    """A viewer of all that, with a tree and a rival side by side."""
    names = ["photos/a.png", "photos", "run", "answers"]
    paths = [*(str(shown / name) for name in names), "--data", str(shown / "pope-data")]
    regions = ["--regions", "merge(0.9) | sort('com')", "--regions", "tome({k})"]
    running = start_server(*paths, "--encoder", ENCODER, *regions, "--model", str(shown / "model"))
    yield running
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) in (0, 130)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium, driven by Selenium; skipped where it is not installed."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(flag)
    options.add_argument("--touch-events=enabled")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
