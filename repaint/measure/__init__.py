"""Metrics and plots of pictures."""
