"""Tables of pictures and words: JSON, CSV, parquet, sidecar files, and the process that reads them."""
