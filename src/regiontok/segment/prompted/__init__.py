"""SAM's everything-mode: prompts, masks, granularity."""
