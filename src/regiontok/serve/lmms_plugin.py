"""What lmms-eval finds under its entry point `lmms_eval.models`: the model `regiontok`.

This module is imported by lmms-eval alone, which then is there.

After: lmms-eval 0.7.3, `models/registry_v2.py`.
Differs: nothing known.
"""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """The model's name, and its classes for tasks of chats and of plain texts."""
    return ModelManifest(
        "regiontok",
        chat_class_path="regiontok.serve.lmms_model.RegionChat",
        simple_class_path="regiontok.serve.lmms_model.RegionSimple",
    )
