"""Where a base comes from: a folder of this machine, the Hub."""
