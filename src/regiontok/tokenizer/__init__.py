"""Images in, region tokens out: the frozen Regionizer, the learning VisualHead, and the two
together as RegionTokenizer."""
