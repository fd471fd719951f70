"""What stands before every route: connections, security, sessions, sign-in, limits."""
