"""Draw the tutorial's pictures by running the tutorial's own code.

    python docs/hooks/make_pictures.py          # two minutes; writes docs/pictures/tutorial/*.webp

Each picture becomes a WebP file of less than 60 kB, at the best quality that allows.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from page_blocks import run_page
from PIL import Image

DOCS = Path(__file__).parents[1]
LARGEST = 60_000  # bytes
WIDEST = 1400  # pixels; the site's column has 700, screens of double density show twice as many


def main() -> None:
    """Run the tutorial in a folder of its own and keep what it drew."""
    target = DOCS / "pictures" / "tutorial"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for block, printed in run_page(DOCS / "tutorial.md", folder, slow=True):
            print(f"line {block.line}\n{printed}")
        for path in sorted(folder.glob("*.webp")):
            with Image.open(path) as image:
                (target / f"{path.stem}.webp").write_bytes(encoded(image.convert("RGB")))


def encoded(image: Image.Image) -> bytes:
    """A picture as WebP within the limits."""
    image.thumbnail((WIDEST, WIDEST))
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() < LARGEST:
            break
    return buffer.getvalue()


if __name__ == "__main__":
    main()
