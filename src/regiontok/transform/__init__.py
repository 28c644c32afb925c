"""Transforms of features: PatchGrid -> PatchGrid. One a file."""
