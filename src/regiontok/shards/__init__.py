"""Pretraining shards: images in tars with regions and labels in Parquet side-cars."""
