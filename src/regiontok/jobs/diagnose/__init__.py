"""How coherent an encoder's features are: numbers, one page, figures."""
