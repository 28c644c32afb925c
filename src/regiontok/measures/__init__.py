"""Numbers about features and regions: coherence, region quality, probes."""
