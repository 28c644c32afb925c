"""Region steps: Regions, PatchGrid -> Regions. One a file."""
