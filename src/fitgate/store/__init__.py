"""The store: one folder a run, its points in Parquet files that any tool reads."""
