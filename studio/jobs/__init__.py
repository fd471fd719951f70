"""torch work that is not training."""
