"""What the commands of `regiontok probe` do, one file a probe."""
