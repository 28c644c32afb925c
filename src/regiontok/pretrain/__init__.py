"""Pretraining region transformers by cluster discrimination: stages, exact resuming, evaluation,
and the plan before it."""
