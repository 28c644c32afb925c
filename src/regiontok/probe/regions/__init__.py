"""The cheap probe: names of regions and patches by their neighbours and by linear classifiers."""
