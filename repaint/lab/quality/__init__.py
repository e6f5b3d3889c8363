"""Measure results on held-out images."""
