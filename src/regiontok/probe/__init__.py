"""What frozen features are worth: region k-NN."""
