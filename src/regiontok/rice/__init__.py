"""RICE: the region transformer, its losses and class centres, checkpoints."""
