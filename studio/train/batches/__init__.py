"""From rows to batches: which picture comes when, cached encodings, noise and timesteps."""
