"""Training RegionVLM: stages, exact resuming, evaluation, and the plan before it."""
