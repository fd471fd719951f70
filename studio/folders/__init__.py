"""Runs and jobs as folders: their layout, events, requests, edits."""
