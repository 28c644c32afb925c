"""Released vision-language models with region tokens inside, one family of models a file."""
