"""Regions as pictures: Picture, Frame, Regions -> Pillow images."""
