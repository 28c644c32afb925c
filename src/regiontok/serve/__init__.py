"""Region tokens for inference servers: tokens are exported, and the server answers from them."""
