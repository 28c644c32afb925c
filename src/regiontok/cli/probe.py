"""`regiontok probe`: probes of frozen encoders; each has a module of its own, `probe_*.py`."""

from __future__ import annotations

from regiontok.cli.options import command_group, with_json
from regiontok.cli.probe_detect import probe_detect
from regiontok.cli.probe_pictures import pictures_app
from regiontok.cli.probe_refer import probe_refer
from regiontok.cli.probe_regions import probe_regions
from regiontok.cli.probe_track import probe_track

probe_app = command_group(
    "Probes of frozen encoders: train a small head on any encoder's features, and measure it."
)
probe_app.command("detect")(with_json(probe_detect))
probe_app.command("regions")(with_json(probe_regions))
probe_app.command("track")(with_json(probe_track))
probe_app.command("refer")(with_json(probe_refer))
probe_app.add_typer(pictures_app, name="pictures")
