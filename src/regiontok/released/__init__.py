"""Region tokens inside released vision-language models; one file a family."""
