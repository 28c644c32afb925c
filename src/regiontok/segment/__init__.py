"""Segmenters: Picture -> PixelMasks. One a file."""
