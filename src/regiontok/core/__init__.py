"""The nouns that every other room speaks about: pictures, frames, masks, regions, grids, tokens."""
