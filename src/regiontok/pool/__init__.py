"""Pools, which turn the patches of regions into visual tokens; one method a file."""
