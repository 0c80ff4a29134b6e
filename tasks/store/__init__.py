"""Storage: the only package that names Zarr, Parquet and sound files."""
