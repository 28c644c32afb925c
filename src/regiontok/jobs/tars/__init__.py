"""Masks and tokens of the images of tars, piece by piece: a file for each tar."""
