"""Vision encoders: Picture -> PatchGrid. One a file."""
