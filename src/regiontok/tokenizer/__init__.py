"""Images in, region tokens out: Regionizer (frozen), VisualHead (learns), RegionTokenizer
(both)."""
