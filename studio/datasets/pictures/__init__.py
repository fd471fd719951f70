"""Pictures as files: decoding in limited processes, normalising, buckets, crops, measures."""
