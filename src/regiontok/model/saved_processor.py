"""The processor that lies beside a saved model."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from regiontok.model.chat_templates import named_template
from regiontok.model.processor import RegionVLMProcessor
from regiontok.system.errors import first_line
from regiontok.system.loading import clear_model_errors


def load_processor(folder: Path, template: str = "") -> RegionVLMProcessor:
    """The processor of a model's folder; without one, a processor around its tokenizer.

    Args:
        folder: the model's folder.
        template: name of a template that takes the place of the saved one; "" takes that.

    Raises:
        ValueError: If there is neither, or it cannot be read, or the template is unknown.
    """
    processor = _read_processor(folder)
    if template:
        processor.chat_template = named_template(processor.tokenizer, template)
    return processor


def _read_processor(folder: Path) -> RegionVLMProcessor:
    try:
        with clear_model_errors(str(folder)):
            if (folder / "processor_config.json").is_file():
                return RegionVLMProcessor.from_pretrained(folder)
            return RegionVLMProcessor(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    except ValueError as error:
        raise ValueError(
            f"{folder} has no processor or tokenizer that can be read ({first_line(error)}); save "
            "one there: save_pretrained"
        ) from None
