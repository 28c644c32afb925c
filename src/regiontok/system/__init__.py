"""What serves all other rooms: files, interrupts, optional packages, the hub, checkpoints,
hardware, run folders."""
