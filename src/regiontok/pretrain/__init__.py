"""Pretraining region transformers by cluster discrimination: stages, resuming, evaluation, plan."""
