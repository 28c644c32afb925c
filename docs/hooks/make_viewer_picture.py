"""Draw the picture of the viewer: a page in one file, seen by Chromium.

    python docs/hooks/make_viewer_picture.py     # half a minute; writes docs/pictures/viewer.webp

Needs chromium, chromedriver and Selenium. The WebP file has less than 200 kB.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait
from skimage.data import coffee

from regiontok.view.collection import Collection
from regiontok.view.library import Library
from regiontok.view.page import whole_page
from regiontok.view.panels import PanelMaker
from regiontok.view.settings import settings_of

TARGET = Path(__file__).parents[1] / "pictures" / "viewer.webp"
LARGEST = 200_000  # bytes
WIDTH, HEIGHT = 1280, 955  # CSS pixels, at 1.5 times the density
SPECS = ("merge(k=32) | sort('com')", "tome({k})")


def main() -> None:
    """Write the page, look at it, and keep what is seen."""
    with tempfile.TemporaryDirectory() as name:
        photo, page = Path(name, "coffee.png"), Path(name, "page.html")
        Image.fromarray(coffee()).save(photo)
        collection = Collection(Library([photo]), PanelMaker(settings_of(["lite"], SPECS)))
        page.write_text(whole_page(collection, title="regiontok view"), encoding="utf-8")
        seen = picture_of(page)
    TARGET.write_bytes(encoded(seen))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


def picture_of(page: Path) -> Image.Image:
    """The page with the pointer on a region."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1.5, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.as_uri())
        wait = WebDriverWait(driver, 120)
        wait.until(
            lambda _: driver.execute_script(
                "return document.documentElement.dataset.ready === 'true'"
            )
        )
        canvas = driver.find_element("css selector", ".stage canvas")
        ActionChains(driver).move_to_element_with_offset(canvas, 0, -90).perform()
        wait.until(lambda _: "norm" in driver.find_element("css selector", ".readout").text)
        return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def encoded(image: Image.Image) -> bytes:
    """The picture as WebP within the limit, at the best quality that allows."""
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() < LARGEST:
            break
    return buffer.getvalue()


if __name__ == "__main__":
    main()
