"""lmms-eval's model `regiontok`: a trained `RegionVLM`, or a released model with any regions.

::

    lmms_eval --model regiontok --model_args "pretrained=run/2_tuning" --tasks pope ...

This module is imported by lmms-eval alone, which then is there.

After: lmms-eval 0.7.3, `api/model.py` and `models/chat/llava_hf.py`.
Differs: `--model_args` is cut as it is meant (`harness_arguments.py`), unknown arguments are
refused, input tokens count visual tokens, and an error ends the run: the stock adapters log it and
score an empty answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm

from regiontok.serve.harness_arguments import (
    HarnessArguments,
    launched_processes,
    on_own_gpu,
    parse_arguments,
)
from regiontok.serve.harness_model import (
    Asking,
    Conversation,
    HarnessModel,
    batches,
    one_message,
)


class RegionLMM(lmms):  # type: ignore[misc]  # lmms-eval is not typed
    """What both interfaces share.

    Args:
        arguments: which model, and how it runs.
    """

    def __init__(self, arguments: HarnessArguments) -> None:
        super().__init__()
        self.asked = HarnessModel(arguments)
        self.batch_size, self.device = arguments.batch_size, self.asked.device
        self._share_requests()

    def _share_requests(self) -> None:
        """Take this process's share of the requests, which lmms-eval deals out by rank.

        Raises:
            RuntimeError: If accelerate does not see the processes that were started: each would
                answer everything, and write a score of its own.
        """
        accelerator, started = Accelerator(), launched_processes()
        if accelerator.num_processes != started:
            raise RuntimeError(
                f"{started} processes were started, and accelerate sees {accelerator.num_processes}"
                ": start them by `accelerate launch` or torchrun, with ACCELERATE_USE_CPU=true in "
                "the environment where there is no GPU"
            )
        if started > 1:
            self.accelerator = accelerator
            self._rank, self._world_size = accelerator.process_index, started

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> RegionLMM:
        """The model of `--model_args`, with what other flags say of batch size and device.

        Raises:
            ModelArgumentsError: If the text cannot be read, or names an unknown argument.
        """
        flags = {name: value for name, value in (additional_config or {}).items() if value}
        flags.pop("max_batch_size", None)  # it is for batch sizes that are searched for
        arguments = HarnessArguments.of({**flags, **parse_arguments(arg_string)})
        return cls(on_own_gpu(arguments))

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """The answers, in the order of the requests."""
        results: list[GenerationResult | None] = [None] * len(requests)
        with tqdm(total=len(requests), desc="answers", disable=self.rank != 0) as bar:
            for indices in batches([settings_of(each) for each in requests], self.batch_size):
                settings = settings_of(requests[indices[0]])
                asking = Asking.of(settings, self.asked.arguments.max_new_tokens)
                conversations = [self.conversation(requests[index]) for index in indices]
                answers = self.asked.answers(conversations, asking)
                for index, answer in zip(indices, answers, strict=True):
                    counts = TokenCounts(answer.input_tokens, answer.output_tokens)
                    results[index] = GenerationResult(answer.text, counts)
                    request = (requests[index].args[0], settings)
                    self.cache_hook.add_partial("generate_until", request, answer.text)
                    bar.update()
        return [result for result in results if result is not None]

    def conversation(self, request: Instance) -> Conversation:
        """The messages of a request, pictures inside."""
        raise NotImplementedError

    def document(self, task: str, split: str, doc_id: Any) -> Any:
        """The row of a task that a request is about."""
        return self.task_dict[task][split][doc_id]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused: answers are generated."""
        raise NotImplementedError(
            "regiontok answers in words; this task compares likelihoods: take its generate_until "
            "variant"
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refused: no task of several rounds was tried."""
        raise NotImplementedError("regiontok does not run tasks of several rounds in lmms-eval")


class RegionChat(RegionLMM):
    """Tasks that give messages."""

    is_simple = False

    def conversation(self, request: Instance) -> Conversation:
        """The task's own messages."""
        _, doc_to_messages, _, doc_id, task, split = request.args
        chat = ChatMessages(messages=doc_to_messages(self.document(task, split, doc_id)))
        _, videos, audios = chat.extract_media()
        if videos or audios:
            raise ValueError(f"{task} shows videos or plays sounds, and regiontok reads pictures")
        messages: Conversation = chat.to_hf_messages()
        return messages


class RegionSimple(RegionLMM):
    """Tasks that give a text and pictures."""

    is_simple = True

    def conversation(self, request: Instance) -> Conversation:
        """One message: the pictures at their places in the text, or before it."""
        text, _, doc_to_visual, doc_id, task, split = request.args
        pictures = doc_to_visual(self.document(task, split, doc_id)) or []
        return one_message(text, pictures)


def settings_of(request: Instance) -> dict[str, Any]:
    """The generation_kwargs of a request: the one of its arguments that is a dict."""
    settings: dict[str, Any] = next(each for each in request.args if isinstance(each, dict))
    return settings
