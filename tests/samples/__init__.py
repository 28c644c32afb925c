"""Pictures, grids, tiny models and runs that several tests share."""
