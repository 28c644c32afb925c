"""What `regiontok probe refer` does: models learn to segment what an expression says.

The folder of a call::

    ENCODER/seed-N/     one run: probe.json, log.jsonl, checkpoints
    scores.json         a row for each encoder and seed, and those of masks that never look
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from regiontok.jobs.probe.refer_plan import ReferProbe, about
from regiontok.jobs.probe.seeds import scores_over_seeds, write_scores
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.loop import Learner, train
from regiontok.probe.processes import Processes
from regiontok.probe.refer.batches import Batches, FrozenPictures
from regiontok.probe.refer.build import Built
from regiontok.probe.refer.evaluate import Measured, blind_overlaps, found_masks, measured
from regiontok.probe.refer.model import ReferringBatch
from regiontok.probe.refer.referred import ReferringSet
from regiontok.probe.refer.sheet import Found
from regiontok.system.devices import resolve_device

SHOWN = 6  # expressions of each run that are kept to be drawn
_MOST_BLIND = 2000  # masks of the training set from which the mean mask is made
_STANDARD = 64  # pictures of the training set: 9,000 patches of a grid of 12 x 12
Tell = Callable[[dict[str, Any]], None]


def probe_refer(
    probe: ReferProbe,
    *,
    tell: Tell = lambda entry: None,
    tick: Callable[[int], None] = lambda rows: None,
) -> tuple[dict[str, Any], list[tuple[str, list[Found]]]]:
    """Train each run's model, measure its masks, and write the scores.

    Args:
        probe: what is probed.
        tell: called with every entry of a run's log.
        tick: told how many expressions were measured since the last call.

    Returns:
        The report, which `scores.json` holds; and some masks that the first seeds' models found.
        Of several processes the first alone measures.

    Raises:
        OtherRun: If a run in `out` was of another encoder, or of other settings.
        ReferringDataError: If no expression can be used.
    """
    test = probe.data.test
    report: dict[str, Any] = {
        "recipe": _readable(asdict(probe.recipe)),
        "train": about(probe.data.train),
        "test": about(test),
        "rows": [
            _row(f"blind: {name}", None, measured(test, overlaps))
            for name, overlaps in blind_overlaps(probe.data.train.first(_MOST_BLIND), test).items()
        ],
        "interrupted": False,
    }
    shown: list[tuple[str, list[Found]]] = []
    for subject, seed, folder in probe.runs():
        run = _Run(probe, probe.build(subject, seed), seed)
        result = run.train(ProbeFolder(folder), tell)
        if result["stopped"]:
            report |= {"interrupted": result["interrupted"], "stopped": result["stopped"]}
            break
        if not Processes.join(probe.options.device).is_first:
            continue
        masks = run.found(test, tick)
        row = _row(subject, seed, measured(test, [mask.overlap for mask in masks]))
        report["rows"].append({**row, "loss": result["loss"]})
        if seed == probe.seeds[0]:
            shown.append((subject, _spread(masks)))
        write_scores(probe.out / "scores.json", report)
    return report, shown


class _Run:
    """One training of a model, and its masks."""

    def __init__(self, probe: ReferProbe, built: Built, seed: int) -> None:
        self._probe, self._built, self._seed = probe, built, seed
        self._device = torch.device(resolve_device(probe.options.device))
        self._encode = self._encoder()

    def train(self, folder: ProbeFolder, tell: Tell) -> dict[str, Any]:
        """Train the model in a folder, or go on there; see `probe.loop.train`."""
        probe, recipe = self._probe, self._probe.recipe
        batches = self._batches(probe.data.train)
        learner = Learner(
            name=f"refer {recipe.name}",
            module=self._built.model,
            batch_at=batches.at,
            loss_of=lambda model, batch: model.losses(batch),
            encode=self._encode,
        )
        bfloat16 = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        return train(
            learner,
            recipe.optimisation(len(probe.data.train), self._seed, bfloat16=bfloat16),
            folder,
            settings=self._settings(),
            options=probe.options,
            resume=probe.resume,
            tell=tell,
        )

    def found(self, test: ReferringSet, tick: Callable[[int], None]) -> list[Found]:
        """The masks of a set."""
        masks = found_masks(self._built.model, self._batches(test), self._encode, tick=tick)
        return list(masks)

    def _batches(self, data: ReferringSet) -> Batches:
        built, recipe = self._built, self._probe.recipe
        return Batches(data, built.talk, built.canvas, recipe.rows, self._seed, recipe.together)

    def _encoder(self) -> Callable[[ReferringBatch], ReferringBatch]:
        features = self._built.features
        if features is None:
            return lambda batch: batch.to(self._device)
        if self._probe.recipe.image == "sam":
            return FrozenPictures(features, self._device, places=False)
        standard = self._probe.data.train.pictures(_STANDARD)
        return FrozenPictures(features, self._device, places=True, standard=standard)

    def _settings(self) -> dict[str, Any]:
        """All that decides what is learned."""
        probe, built = self._probe, self._built
        return {
            "probe": "refer",
            "encoder": built.features.identity if built.features else str(probe.vlm),
            "visual": built.model.vlm.config.visual,
            "recipe": _readable(asdict(probe.recipe)),
            "data": probe.data.identity,
            "sizes": asdict(probe.sizes) if probe.vlm is None else {},
            "sam": probe.sam,
            "talk": built.talk.identity,
            "seed": self._seed,
        }


def _row(name: str, seed: int | None, scored: Measured) -> dict[str, Any]:
    return {
        "encoder": name,
        "seed": seed,
        "scores": {key: list(interval) for key, interval in scored.scores.items()},
        "by_kind": scored.by_kind,
    }


def _spread(masks: Sequence[Found]) -> list[Found]:
    """Some of the masks, evenly spread over the set."""
    return [masks[len(masks) * place // SHOWN] for place in range(min(SHOWN, len(masks)))]


def _readable(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as JSON has it."""
    lora = recipe["lora"]
    return {**recipe, "lora": None if lora is None else lora.model_dump()}


def mean_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an encoder: the mean of each score over its seeds, and the lowest and highest.

    With one seed lowest and highest are the interval of the bootstrap over pictures.
    """
    means = []
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        own_rows = [row for row in rows if row["encoder"] == encoder]
        scores = scores_over_seeds(own_rows)
        kinds = {
            kind: sum(row["by_kind"][kind] for row in own_rows) / len(own_rows)
            for kind in own_rows[0]["by_kind"]
        }
        means.append(
            {"encoder": encoder, "seeds": len(own_rows), "scores": scores, "by_kind": kinds}
        )
    return means
