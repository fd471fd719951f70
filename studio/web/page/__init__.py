"""What a page loads: its files under /static, and its scripts and styles put together in few."""
