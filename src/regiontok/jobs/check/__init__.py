"""What works on this machine, and published outputs of checkpoints."""
