"""Formats in which other tools leave masks: COCO JSON, panoptic PNG, label maps, run lengths."""
