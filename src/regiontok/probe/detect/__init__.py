"""Detection and instance segmentation on frozen features: a Cascade Mask R-CNN that learns."""
