"""Command lines of diffusers' training scripts, read as configs of runs."""
