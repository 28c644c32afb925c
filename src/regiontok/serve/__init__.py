"""Region tokens for inference servers: export."""
