"""What `regiontok probe track` does: heads are trained on frozen encoders, and follow targets.

The folder of a call::

    ENCODER/seed-N/     one run: probe.json, log.jsonl, checkpoints
    scores.json         a row for each encoder and seed, and one for the box that stays
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from regiontok.jobs.probe.seeds import folder_name, write_scores
from regiontok.jobs.probe.track_report import about_clips, published_beside, score_row
from regiontok.probe.features import FrozenFeatures, require_same_encoder
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.loop import train
from regiontok.probe.options import ProbeOptions
from regiontok.probe.processes import Processes
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.crop_features import CropFeatures
from regiontok.probe.track.layouts import read_clips
from regiontok.probe.track.measure import Measured, measure
from regiontok.probe.track.scores import Absent
from regiontok.probe.track.settings import TrackSettings
from regiontok.probe.track.submission import check_form, write_submission
from regiontok.probe.track.tracker import Track, Tracker, stay
from regiontok.probe.track.training import TrackTraining, new_head
from regiontok.system.devices import resolve_device

STAYS = "the first box stays"  # the row of the blind baseline


@dataclass(frozen=True, kw_only=True)
class TrackProbe:
    """What is probed, on which clips.

    Attributes:
        encoders: specs of the encoders.
        settings: what is trained, and how long.
        out: folder of the runs.
        train_on: data sets to learn from, LAYOUT:FOLDER each; none takes the heads that are in
            `out` already.
        train_split: their split.
        test_on: the data set to measure on, LAYOUT:FOLDER.
        test_split: its split.
        clips: clips that are measured, the first of the data set; 0 takes all.
        seeds: seeds of weights and pairs, a run each.
        batches: batches of a step, which several processes share.
        absent: what frames without the target are to success and precision.
        options: where and how it is carried out.
        resume: go on with runs that are in `out`.

    Raises:
        ValueError: If there is no encoder or no seed, or two encoders or seeds are the same.
    """

    encoders: tuple[str, ...]
    settings: TrackSettings
    out: Path
    test_on: str
    train_on: tuple[str, ...] = ()
    train_split: str = "all"
    test_split: str = "all"
    clips: int = 0
    seeds: tuple[int, ...] = (0,)
    batches: int = 1
    absent: Absent = "out"
    options: ProbeOptions
    resume: bool = False

    def __post_init__(self) -> None:
        for name, values in (("encoder", self.encoders), ("seed", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"expected one {name} at least, and none twice, got {values}")

    @cached_property
    def training_sets(self) -> list[ClipSet]:
        """The data sets to learn from."""
        return [read_clips(text, self.train_split) for text in self.train_on]

    @cached_property
    def test_set(self) -> ClipSet:
        """The clips to measure on."""
        return read_clips(self.test_on, self.test_split).first(self.clips)

    def runs(self) -> Iterator[tuple[str, int, Path]]:
        """Encoder, seed and folder of each run."""
        for spec in self.encoders:
            for seed in self.seeds:
                yield spec, seed, self.out / folder_name(spec) / f"seed-{seed}"

    def features(self, spec: str, settings: TrackSettings) -> CropFeatures:
        """An encoder for the crops of some settings."""
        device = str(resolve_device(self.options.device))
        return CropFeatures.of(FrozenFeatures(spec, self.options.cache, device), settings)

    def plan(self) -> dict[str, Any]:
        """What would be done: the runs, and how much they read."""
        return {
            "settings": asdict(self.settings),
            "train": [about_clips(clips) for clips in self.training_sets],
            "test": about_clips(self.test_set),
            "pairs": self.settings.steps * self.settings.batch,
            "runs": [
                {"encoder": spec, "seed": seed, "folder": str(folder)}
                for spec, seed, folder in self.runs()
            ],
        }


def probe_track(
    probe: TrackProbe,
    *,
    tell: Callable[[dict[str, Any]], None] = lambda entry: None,
    tick: Callable[[], None] = lambda: None,
    submission: tuple[str, Path] | None = None,
) -> tuple[dict[str, Any], list[tuple[str, TrackClip, Track]]]:
    """Train each run's head, let it follow the clips, and write the scores.

    Args:
        probe: what is probed.
        tell: called with every entry of a run's log.
        tick: called after every frame that was looked at.
        submission: the form and the path of an archive for a server, of the first run's tracks.

    Returns:
        The report, which `scores.json` holds; and the first clips with the first run's tracks.

    Raises:
        OtherRun: If a head in `out` was trained on another encoder, or with other settings.
        NoClips: If a data set has no usable clip.
        ValueError: If a head is not in `out`, and nothing is named to learn from.
        BadSubmission: If the archive would lack a clip.
    """
    if submission:
        check_form(submission[0])
    clips = probe.test_set.startable()
    baseline = measure(stay, clips, absent=probe.absent)
    report: dict[str, Any] = {
        "settings": asdict(probe.settings),
        "train": [about_clips(data) for data in probe.training_sets],
        "test": about_clips(clips),
        "absent": probe.absent,
        "rows": [score_row(STAYS, None, baseline)],
        "published": published_beside(clips, probe.test_split),
        "interrupted": False,
    }
    shown: list[tuple[str, TrackClip, Track]] = []
    is_first = Processes.join(probe.options.device).is_first
    for spec, seed, folder in probe.runs():
        tracker, result = _trained(probe, spec, seed, ProbeFolder(folder), tell)
        if result["stopped"]:
            report |= {"interrupted": result["interrupted"], "stopped": result["stopped"]}
            break
        if not is_first:
            continue
        follow = partial(tracker.follow, tick=tick)
        measured = measure(follow, clips, absent=probe.absent)
        report["rows"].append({**score_row(spec, seed, measured), "loss": result["loss"]})
        report["test"] = about_clips(measured.clips)
        if submission and not shown:
            write_submission(submission[1], submission[0], measured.tracks, measured.clips)
            report["submission"] = str(submission[1])
        shown = shown or _pairs(measured)
        write_scores(probe.out / "scores.json", report)
    return report, shown


def _trained(
    probe: TrackProbe,
    spec: str,
    seed: int,
    folder: ProbeFolder,
    tell: Callable[[dict[str, Any]], None],
) -> tuple[Tracker, dict[str, Any]]:
    """The tracker of one run, trained here or found in its folder."""
    if not probe.train_on:
        return _found(probe, spec, seed, folder)
    features = probe.features(spec, probe.settings)
    training = TrackTraining(features, probe.training_sets, probe.settings, seed, probe.batches)
    result = train(
        training.learner(),
        training.optimisation,
        folder,
        settings=training.decisive,
        options=probe.options,
        resume=probe.resume,
        tell=tell,
    )
    for path, reason in training.draws.damaged.items():
        tell({"kind": "note", "step": result["step"], "text": f"{path} was passed over: {reason}"})
    return Tracker(features, training.head, probe.settings), result


def _found(
    probe: TrackProbe, spec: str, seed: int, folder: ProbeFolder
) -> tuple[Tracker, dict[str, Any]]:
    """The tracker of a run that is in its folder already."""
    begun = folder.settings()
    settings = TrackSettings(**begun["head"])
    features = probe.features(spec, settings)
    require_same_encoder(begun["encoder"], features.search, str(folder.path))
    head = new_head(features, settings, seed).to(features.search.device)
    step = folder.load(head)
    if not step:
        raise ValueError(f"{folder.path} has no checkpoint of a head: name data to --train on")
    return Tracker(features, head, settings), {"stopped": "", "interrupted": False, "loss": None}


def _pairs(measured: Measured) -> list[tuple[str, TrackClip, Track]]:
    pairs = zip(measured.clips.clips, measured.tracks, strict=True)
    return [(clip.name, clip, track) for clip, track in pairs]
