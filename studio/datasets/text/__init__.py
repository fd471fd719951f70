"""Captions as text: encodings, tokens, edits, suggestions."""
