"""The viewer in Chromium: hover, slider, keyboard, touch, chat, answers, windows, network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from samples.viewer import ENCODER

pytestmark = pytest.mark.slow
SLIDER, READOUT, COUNT = "slider", ".readout", ".tokens b"


class Browser:
    """Chromium on one page of the viewer."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address, fragment=""):
        """Load a page anew, and wait until its panels are there."""
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(address)
        if fragment:
            self.run("location.hash = arguments[0]", fragment)
        self.until(
            "return document.documentElement.dataset.ready === 'true' "
            "&& arguments[0] === location.hash.slice(1)",
            fragment,
        )
        return self

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def until(self, script, *values, seconds=60):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds).until(lambda _: self.run(script, *values))

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector):
        return [element.text for element in self.all(selector)]

    def keys(self, selector, *keys):
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.all(selector)[0].send_keys(getattr(Keys, key, key))
        self.rest()

    def pointer(self, element, across=0, down=0):
        from selenium.webdriver.common.action_chains import ActionChains

        return ActionChains(self.driver).move_to_element_with_offset(element, across, down)

    def touch(self, *steps):
        """Put fingers on the page step by step, and lift them; a step is a list of places."""
        for number, places in enumerate([*steps, []]):
            kind = "touchStart" if number == 0 else "touchMove" if places else "touchEnd"
            points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
            event = {"type": kind, "touchPoints": points}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        self.rest()

    def rest(self):
        """Wait until the page has drawn what it was told."""
        self.run("return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")

    def place(self, selector, across=0.5, down=0.5):
        """A place in the window, in shares of the sides of the first element."""
        script = (
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [box.x, box.y, box.width, box.height]"
        )
        x, y, width, height = self.run(script, selector)
        return x + across * width, y + down * height

    def emulate(self, width=1280, height=900, scheme="light"):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def requests(self):
        """The addresses of all requests since the page was opened."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self):
        """What the page wrote to the console as a warning or an error."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] != "INFO"]


@pytest.fixture
def browser(chromium):
    own = Browser(chromium)
    own.emulate()
    return own


@pytest.fixture
def photo(browser, server):
    """The page of the first photo."""
    return browser.open(server.address, "item/0")


def test_the_pointer_tells_a_region_and_a_click_fixes_it(photo):
    canvas, _ = photo.all(".stage canvas")
    photo.pointer(canvas, 20, 10).perform()
    photo.until("return document.querySelector('.readout').textContent.includes('norm')")
    first, second = photo.texts(READOUT)
    assert first.startswith("Region ")
    assert "1 token · " in first
    assert second.startswith("Region ")  # the cursor is linked
    photo.pointer(canvas, 20, 10).click().perform()
    photo.until("return document.querySelector('.readout').textContent.includes('cosine 1.00')")
    assert photo.texts(".legend")[0].startswith("Cosine of every region to the fixed one")
    photo.keys("body", "ESCAPE")
    assert photo.texts(".legend")[0].startswith("Point at a region")


def test_the_slider_sets_the_same_number_in_every_panel(photo):
    photo.keys(f"#{SLIDER}", "HOME", *["ARROW_RIGHT"] * 6)
    photo.until(
        "return [...document.querySelectorAll('.tokens b')].every((one) => one.textContent === '7')"
    )
    assert photo.texts(".said") == ["7 regions"]
    photo.keys(f"#{SLIDER}", "END")
    assert photo.texts(COUNT)[0] == "81"
    photo.all("input[value=likeness]")[0].click()
    photo.keys(f"#{SLIDER}", "HOME")
    assert "alike" in photo.texts(".said")[0]
    assert photo.texts(COUNT)[0] == "1"
    photo.all(".budget button")[0].click()
    assert photo.texts(".said") == ["each as its spec says"] or "alike" in photo.texts(".said")[0]


def test_the_keyboard_reaches_everything(photo):
    photo.run("document.activeElement.blur()")
    before = photo.texts(COUNT)[0]
    photo.keys("body", "ARROW_LEFT", "ARROW_LEFT")
    assert int(photo.texts(COUNT)[0]) == int(before) - 2
    reached = []
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for _ in range(24):
        ActionChains(photo.driver).send_keys(Keys.TAB).perform()
        reached.append(
            photo.run(
                "const one = document.activeElement;"
                "return one.id || one.name || one.tagName.toLowerCase()"
            )
        )
    for name in ("slider", "exact", "choice-show", "choice-set-by", "canvas", "question"):
        assert name in reached, name
    photo.all(".stage canvas")[0].send_keys(Keys.ARROW_RIGHT, Keys.ENTER)
    photo.until("return document.querySelector('.readout').textContent.includes('Region')")


def test_every_control_has_a_name(photo):
    nameless = photo.run(
        "return [...document.querySelectorAll('button, input, select, canvas, a[href]')].filter("
        "(one) => !(one.textContent.trim() || one.getAttribute('aria-label') "
        "|| one.labels?.length))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_window_and_follows_the_scheme(browser, server, width, scheme):
    browser.emulate(width=width, height=844, scheme=scheme)
    for fragment in ("item/0", "photos"):
        browser.open(server.address, fragment)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_nothing_jumps_while_the_slider_moves(photo):
    parts = "[...document.querySelectorAll('.panel, .reading, .tools')]"
    tops = f"return {parts}.map((one) => one.offsetTop)"
    before = photo.run(tops)
    photo.keys(f"#{SLIDER}", "HOME")
    at_one = photo.run(tops)
    photo.keys(f"#{SLIDER}", "END")
    assert before == at_one == photo.run(tops)


def test_a_canvas_is_as_sharp_as_the_screen(photo):
    sizes = photo.run(
        "const one = document.querySelector('.stage canvas');"
        "return [one.width / one.clientWidth, one.height / one.clientHeight]"
    )
    assert sizes == pytest.approx([2, 2], abs=0.01)


def test_words_of_an_answer_show_what_they_looked_at(photo):
    photo.all("#question")[0].send_keys("What is it?\n")
    photo.until("return document.querySelectorAll('.answered .word').length > 0")
    assert len(photo.all(".panel")) == 3
    assert "of its attention is on the photo" in photo.texts(".talk .share")[0]


def test_an_answer_that_is_clicked_shows_what_its_words_looked_at(browser, server):
    browser.open(server.address, "item/4")
    assert browser.texts(".found")[0].startswith("3 of 6 answers · 50 % right")
    browser.all("input[value=all]")[0].click()
    browser.all(".answer")[1].click()
    browser.until(
        "return location.hash === '#item/4/1' && document.documentElement.dataset.ready === 'true'"
    )
    words = "document.querySelectorAll('.reply .word')"
    assert browser.run(f"return [...{words}].map((one) => one.textContent)") == [
        "yes",
        " it",
        " is",
    ]
    assert browser.run("return document.querySelector('.steps').textContent") == "‹2 / 6›"
    assert "of its attention is on the photo" in browser.texts(".share")[0]
    pixels = "return document.querySelector('.stage canvas').toDataURL()"
    browser.rest()
    of_all = browser.run(pixels)
    browser.all(".reply .word")[1].click()
    browser.rest()
    assert browser.run(pixels) != of_all
    assert browser.all(".reply .word")[1].get_attribute("aria-pressed") == "true"
    browser.pointer(browser.all(".stage canvas")[0], 5, 5).perform()
    browser.until("return document.querySelector('.readout').textContent.includes('of all att')")
    browser.all("a[href='#item/4']")[0].click()
    browser.until("return document.querySelectorAll('.answer').length === 6")  # as it was left


def test_two_fingers_zoom_and_one_drags_what_is_zoomed(photo):
    canvas = ".stage canvas"
    x, y = photo.place(canvas)
    whole = photo.all("button[aria-label='Show the whole photo']")[0]
    assert not whole.is_enabled()
    apart = [[(x - gap, y), (x + gap, y)] for gap in (30, 50, 70, 90)]
    photo.touch(*apart)
    assert whole.is_enabled()
    pixels = f"return document.querySelector('{canvas}').toDataURL()"
    before, top = photo.run(pixels), photo.run("return scrollY")
    photo.touch([(x, y)], [(x + 10, y + 15)], [(x + 30, y + 50)])
    assert photo.run(pixels) != before
    assert photo.run("return scrollY") == top
    assert photo.texts(".legend")[0].startswith("Point at a region")  # nothing was fixed
    photo.touch(*reversed(apart))
    photo.touch(*reversed(apart))
    assert not whole.is_enabled()


def test_a_tap_fixes_a_region(photo):
    photo.touch([photo.place(".stage canvas", 0.4, 0.4)])
    photo.until("return document.querySelector('.readout').textContent.includes('cosine 1.00')")


def test_curves_and_the_gallery(browser, server):
    browser.open(server.address, "runs")
    browser.open(server.address, "item/3")
    assert browser.texts(".plot h3") == ["Loss", "Exact answers"]
    browser.open(server.address, "photos")
    browser.until(
        "return [...document.querySelectorAll('.thumb img')].every((one) => one.naturalWidth > 0)"
    )
    assert len(browser.all(".gallery li")) == 3


def test_a_hostile_name_is_text(browser, server):
    browser.open(server.address, "photos")
    assert "<img src=x onerror=document.title=1>.png" in browser.texts(".gallery .name")
    assert browser.run("return document.title") == "regiontok view"


def test_no_request_leaves_the_machine(photo, server):
    photo.pointer(photo.all(".stage canvas")[0], 5, 5).click().perform()
    photo.until("return document.querySelector('.readout').textContent.includes('norm')")
    requests = photo.requests()
    home = f"http://127.0.0.1:{server.port}/"
    assert len(requests) > 10
    assert [one for one in requests if not one.startswith((home, "data:", "blob:"))] == []
    assert [line for line in photo.complaints() if "favicon" not in line] == []


def test_the_page_in_one_file_works_without_a_server(browser, shown, tmp_path):
    path = tmp_path / "figure.html"
    words = ["--encoder", ENCODER, "--regions", "merge(0.9)", "--html", str(path)]
    command = [sys.executable, "-m", "regiontok", "view", str(shown / "photos"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["items"] == 2
    again = subprocess.run(command, capture_output=True, text=True)
    assert (again.returncode, "--overwrite" in again.stderr) == (2, True)
    browser.open(Path(path).as_uri(), "item/1")
    browser.keys(f"#{SLIDER}", "HOME", "ARROW_RIGHT")
    assert browser.texts(COUNT) == ["2"]
    browser.pointer(browser.all(".stage canvas")[0], 5, 5).click().perform()
    browser.until("return document.querySelector('.readout').textContent.includes('cosine')")
    outside = [one for one in browser.requests() if not one.startswith(("file:", "data:", "blob:"))]
    assert [one for one in outside if one != "about:blank"] == []
    assert browser.complaints() == []
