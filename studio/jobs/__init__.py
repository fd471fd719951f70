"""torch work that is not training. A file here with a `main(job)` is a kind of job; `python -m studio.jobs` runs it."""
