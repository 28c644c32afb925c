"""Pixel masks of pictures: segmenters, one file each."""
