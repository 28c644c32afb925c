"""The stages of a curation in their order: what each reads, does, and waits for.

Most stages go piece by piece. Two are barriers, which look at all tars at once: the keep-list and
the centroids. Their hashes enter what comes after them, so that a stage behind a barrier is not
known before the barrier is passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from regiontok.curate.assemble import AssemblePiece, RegionStages, assemble_stage, in_whole_tars
from regiontok.curate.cluster import centroid_settings, read_centroid_report, write_centroids
from regiontok.curate.duplicates import KeepReport, keep_settings, read_keep_report, write_keep_list
from regiontok.curate.embed import EmbedPiece, embed_stage, features_of
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.label import LabelPiece, label_stage
from regiontok.curate.left_out import LeftOutTar
from regiontok.curate.ocr import OcrPiece, ocr_stage
from regiontok.curate.packing import clear_other_sidecars, write_manifests
from regiontok.curate.plan import CurationPlan
from regiontok.curate.propose import STORED, ProposePiece, propose_stage, segmenter_of
from regiontok.curate.sources import CurationError
from regiontok.curate.steps import BarrierStep, PieceStep, Step, WaitingStep
from regiontok.curate.tars import Curation
from regiontok.system.errors import RegiontokError

BESIDE = ("propose", "embed", "ocr")  # what reads the keep-list goes beside each other


class BarrierNotPassed(RegiontokError, RuntimeError):
    """Raised while a step is put together whose barrier, named here, is not passed."""


@dataclass(frozen=True)
class Pipeline:
    """The steps of a plan.

    Attributes:
        curation: the tars.
        plan: the plan.
        left_out: tars without which it goes on, from a stage on.
    """

    curation: Curation
    plan: CurationPlan
    left_out: tuple[LeftOutTar, ...] = ()

    @property
    def names(self) -> list[str]:
        """The stages that the plan has, in their order."""
        return [name for name in STAGES if name != "ocr" or self.plan.ocr.reader != "none"]

    def step(self, name: str) -> Step:
        """A step, as it is known now: what a barrier has written since counts.

        Raises:
            CurationError: If the plan has no such stage.
        """
        if name not in self.names:
            raise CurationError(f"no stage {name!r}: this plan has {', '.join(self.names)}")
        try:
            return STAGES[name](self)
        except BarrierNotPassed as barrier:
            return WaitingStep(name, str(barrier))

    @staticmethod
    def beside(names: Sequence[str]) -> list[str]:
        """The first of some stages, with those of the others that can go beside it.

        >>> Pipeline.beside(["embed", "cluster", "label", "ocr"])
        ['embed', 'ocr']
        """
        first, *others = names
        return [first, *(name for name in others if {first, name} <= set(BESIDE))]

    def at(self, name: str) -> Curation:
        """The tars of a stage: all but those that are left out of it, or of one before it."""
        order = list(STAGES)
        until = order[: order.index(name) + 1]
        return self.curation.without({tar.tar for tar in self.left_out if tar.stage in until})

    def filter(self) -> PieceStep:
        """Sizes, damage and hashes of all images."""
        plan, curation = self.plan.filter, self.at("filter")
        return PieceStep(filter_stage(curation, plan), curation, FilterPiece(curation, plan))

    def keep(self) -> BarrierStep:
        """Which images stay."""
        reads, plan, curation = self.filter(), self.plan.filter, self.at("keep")
        report = read_keep_report(curation.out)
        return BarrierStep(
            "keep",
            reads,
            keep_settings(curation, reads.stage, plan),
            report,
            _keep_words(report) if report else "",
            None,
            lambda workers, tell: write_keep_list(curation, reads.stage, plan),
        )

    def propose(self) -> PieceStep:
        """Boxes of regions."""
        plan, keep, curation = self.plan.propose, _passed(self.keep()), self.at("propose")
        work = ProposePiece(curation, plan, keep)
        gpus = float(plan.segmenter != STORED and segmenter_of(plan)[0].wants_gpu)
        return PieceStep(propose_stage(curation, plan, keep), curation, work, gpus=gpus)

    def embed(self) -> PieceStep:
        """Features of regions."""
        plan, propose, curation = self.plan.embed, self.propose().stage, self.at("embed")
        work = EmbedPiece(curation, plan, propose)
        stage = embed_stage(curation, plan, propose.hash)
        gpus = float(features_of(plan).encoder.wants_gpu)
        return PieceStep(stage, curation, work, gpus=gpus, behind=propose.name)

    def cluster(self) -> BarrierStep:
        """Centroids."""
        reads, plan, curation = self.embed(), self.plan.cluster, self.at("cluster")
        report = read_centroid_report(curation.out)
        words = "{0.k:,} centroids, found on {0.sample:,} of {0.regions:,} regions"
        return BarrierStep(
            "cluster",
            reads,
            centroid_settings(curation, reads.stage, plan),
            report,
            words.format(report) if report else "",
            report.seconds if report else None,
            lambda workers, tell: write_centroids(
                curation, reads.stage, plan, workers=workers, device=plan.device, tell=tell
            ),
        )

    def label(self) -> PieceStep:
        """The nearest centroids of each region."""
        plan, embed, centroids = self.plan.cluster, self.embed().stage, _passed(self.cluster())
        curation, gpus = self.at("label"), float(plan.device != "cpu")
        work = LabelPiece(curation, plan, embed, centroids, plan.device)
        return PieceStep(label_stage(curation, plan, work.reads), curation, work, gpus=gpus)

    def ocr(self) -> PieceStep:
        """Lines of text."""
        plan, keep, curation = self.plan.ocr, _passed(self.keep()), self.at("ocr")
        work = OcrPiece(curation, plan, keep)
        return PieceStep(ocr_stage(curation, plan, keep), curation, work)

    def assemble(self) -> PieceStep:
        """Side-cars, a tar a piece."""
        centroids = _passed(self.cluster())
        report = read_centroid_report(self.curation.out)
        reads = RegionStages(
            filter=self.filter().stage,
            propose=self.propose().stage,
            label=self.label().stage,
            ocr=self.ocr().stage if "ocr" in self.names else None,
            classes=report.k if report else self.plan.cluster.k,
            centroids=centroids,
            score=self.plan.ocr.score,
        )
        curation = in_whole_tars(self.at("assemble"))
        stage = assemble_stage(curation, reads)
        return PieceStep(
            stage,
            curation,
            AssemblePiece(curation, reads),
            before=lambda: clear_other_sidecars(curation, stage),
            after=lambda: write_manifests(curation),
        )


def _keep_words(report: KeepReport) -> str:
    stays = f"{report.kept:,} of {report.images:,} images stay"
    return f"{stays}; left out as duplicates: {report.set_aside.get('duplicate', 0):,}"


def _passed(barrier: BarrierStep) -> str:
    """The hash of what a barrier has written."""
    if barrier.report is None or not barrier.is_done:
        raise BarrierNotPassed(barrier.name)
    return barrier.report.hash


STAGES: Mapping[str, Callable[[Pipeline], PieceStep | BarrierStep]] = MappingProxyType(
    {
        "filter": Pipeline.filter,
        "keep": Pipeline.keep,
        "propose": Pipeline.propose,
        "embed": Pipeline.embed,
        "cluster": Pipeline.cluster,
        "label": Pipeline.label,
        "ocr": Pipeline.ocr,
        "assemble": Pipeline.assemble,
    }
)
