"""What a viewer can do, a file per subject; routes and pages call the same."""
