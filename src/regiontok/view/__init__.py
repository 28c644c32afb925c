"""The web viewer: region tokens that one can move, on this machine and nowhere else."""
