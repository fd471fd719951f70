"""What people take of the server: disk, quotas, turns; and who looks after it."""
