"""What a run's numbers and pictures say: losses, overfitting, likeness, votes, fixes, estimates."""
