"""Several processes as one run: ranks, DDP, ZeRO."""
