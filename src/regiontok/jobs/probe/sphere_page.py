"""The sphere as one HTML page that turns by mouse, finger and keyboard, and needs no network."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from regiontok.jobs.html_page import html_page
from regiontok.jobs.probe.sphere import Sphere
from regiontok.jobs.probe.sphere_script import SCRIPT

HUES = 16  # classes that have a colour of their own; the others are grey

STYLE = """\
main { max-width: 1080px; }
.stage { display: grid; grid-template-columns: minmax(0, 1fr) 220px; gap: 24px; margin-top: 18px; }
.globe { position: relative; width: min(100%, 70vh); margin: 0 auto; }
canvas { width: 100%; aspect-ratio: 1; display: block; touch-action: none; cursor: grab;
  border-radius: 12px; }
canvas:active { cursor: grabbing; }
canvas:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.tip { position: absolute; pointer-events: none; background: var(--ink); color: var(--paper);
  font-size: 12.5px; line-height: 1.35; padding: 4px 8px; border-radius: 6px; max-width: 260px;
  overflow-wrap: anywhere; opacity: 0; transition: opacity .1s; }
.choices { display: flex; flex-wrap: wrap; gap: 6px; margin: 10px 0 0; }
button { font: inherit; font-size: 13px; color: var(--ink); background: var(--raised);
  border: 1px solid var(--rule); border-radius: 7px; padding: 3px 9px; cursor: pointer;
  text-align: left; }
button[aria-pressed="true"] { border-color: var(--accent); color: var(--accent); }
button:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.legend { display: flex; flex-direction: column; gap: 2px; max-height: 640px; overflow-y: auto; }
.legend button { display: grid; grid-template-columns: 12px 1fr auto; gap: 8px; width: 100%;
  align-items: center; background: none; border-color: transparent; padding: 3px 6px; }
.legend button:hover { background: var(--raised); }
.legend i { width: 11px; height: 11px; border-radius: 50%; }
.legend b { font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
.legend .off { opacity: .35; }
@media (max-width: 760px) { .stage { grid-template-columns: 1fr; } .legend { max-height: none; } }
"""


def sphere_page(spheres: Sequence[Sphere], *, data: str) -> str:
    """The page of one or several encoders on the same regions.

    Args:
        spheres: one an encoder; all have the same classes.
        data: what the regions are of, in words.
    """
    counts = Counter(spheres[0].classes)
    names = [name for name, _ in counts.most_common()]
    regions = len(spheres[0].classes)
    body = f"""<h1>Regions on a sphere</h1>
<p class="about">{regions:,} labelled regions of {html.escape(data)}. t-SNE gave three coordinates;
each point was then moved to distance 1 from their mean, so only directions are left. Distances
between far groups mean nothing.</p>
<p class="about">Drag, or use the arrow keys, to turn; wheel, + and - to zoom; space starts and
stops the turning; 0 goes back. Point at a region for its class; choose a class to see it alone.</p>
<div class="choices" id="encoders" role="group" aria-label="Encoder"></div>
<div class="stage"><div class="globe"><canvas id="globe" tabindex="0" role="img"
  aria-label="Points on a sphere, coloured by class"></canvas><div class="tip" id="tip"></div></div>
<div class="legend" id="legend" role="group" aria-label="Classes"></div></div>
"""
    content = {
        "names": names,
        "counts": [counts[name] for name in names],
        "hues": HUES,
        "spheres": [_as_json(sphere, names) for sphere in spheres],
    }
    # no text of a label can end the script element
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return html_page(
        "Regions on a sphere", body, style=STYLE, script=f"const DATA = {text};\n{SCRIPT}"
    )


def _as_json(sphere: Sphere, names: Sequence[str]) -> dict[str, Any]:
    """A sphere for the page: coordinates of a thousandth, classes and images by number."""
    number = {name: index for index, name in enumerate(names)}
    images = {name: index for index, name in enumerate(dict.fromkeys(sphere.images))}
    return {
        "name": sphere.name,
        "points": [round(1000 * value) for value in sphere.points.ravel().tolist()],
        "classes": [number[name] for name in sphere.classes],
        "images": [images[name] for name in sphere.images],
        "imageNames": list(images),
    }
