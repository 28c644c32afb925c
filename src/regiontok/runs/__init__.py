"""What training and pretraining share: folder, log, checkpoints, provenance, options, trackers."""
