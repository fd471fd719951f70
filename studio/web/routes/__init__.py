"""The routes of the API, a file per subject; each calls a service."""
