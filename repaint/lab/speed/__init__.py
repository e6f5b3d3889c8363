"""Measure the time and memory that are spent outside the network."""
