"""Region-based pretraining of RICE: region transformer, losses, class centres, checkpoints."""
