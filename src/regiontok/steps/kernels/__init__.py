"""The arithmetic of region steps: greedy merging on the host and on a GPU, density clustering."""
