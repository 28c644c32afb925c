"""Referring segmentation: a language model's token prompts SAM's mask decoder (row R10)."""
