"""How requests are read and responses written: bodies, errors, languages, uploads, downloads."""
