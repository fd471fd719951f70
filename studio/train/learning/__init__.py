"""What learns and how: trainable weights, objectives, optimizer steps, EMA."""
