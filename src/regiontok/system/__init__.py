"""What serves all other rooms: files, signals, optional packages, checkpoints, hardware, logs."""
