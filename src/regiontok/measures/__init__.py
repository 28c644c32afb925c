"""Numbers about features and regions: norms, smoothness, locality, region quality, probes."""
