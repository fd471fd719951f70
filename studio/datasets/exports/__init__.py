"""A data set to take away: a zip with a card, or parquet files for the Hub."""
