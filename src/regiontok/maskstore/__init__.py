"""Pixel masks computed once and kept in Parquet files for later runs."""
