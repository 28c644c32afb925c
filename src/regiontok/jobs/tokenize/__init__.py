"""Folders of images and clips to region tokens on disk."""
