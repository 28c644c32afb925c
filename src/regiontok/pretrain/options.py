"""The options of pretraining: those of any run, and how one device goes about its work."""

from __future__ import annotations

from dataclasses import dataclass

from regiontok.runs.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(RunOptions):
    """Where and how pretraining is carried out; none of it decides the result, beyond rounding.

    With `per_device` 0 a pass holds all of a device's images. `cache` holds generated sources; ""
    is a folder in the run's own.

    Attributes:
        compile_blocks: each block is compiled.
        skip: shards and images that cannot be read are passed over, and named in the log.
        tracker: "tensorboard", "trackio" or "wandb", beside the run's own log; "" is none.
        gpu_decode: JPEGs are decoded by the GPU, where there is one, and not by the workers.
        timeout: minutes after which a process that waits for others gives up.
        peak: operations a second of one device, for the share of it that is reached; 0 is unknown.
    """

    save_every: int = 1000
    compile_blocks: bool = False
    skip: bool = False
    tracker: str = ""
    gpu_decode: bool = False
    timeout: float = 30.0
    peak: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.timeout > 0:
            raise ValueError(f"timeout is a number of minutes above 0, not {self.timeout}")
