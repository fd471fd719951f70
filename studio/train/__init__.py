"""The training process: reads a run folder, writes events, sample pictures and checkpoints into it. Never the page."""
