"""The tracking probe (R12): OSTrack's frame on the frozen features of any encoder."""
