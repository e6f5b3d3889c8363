"""Samplers against posteriors that are known."""
