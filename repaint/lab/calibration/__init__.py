"""Measure whether fills are as diverse as they should be, on samples of the prior itself or on held-out pictures."""
