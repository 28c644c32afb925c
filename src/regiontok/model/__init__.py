"""Text and visual tokens -> a language model that answers."""
