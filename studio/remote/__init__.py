"""Runs on other machines: bundles trained elsewhere, rented machines watched from here."""
