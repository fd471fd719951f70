"""From a person's files or a Hub data set to rows: sources, layouts, meanings of names, the report."""
