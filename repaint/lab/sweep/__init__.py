"""Compute grids of cells, and summarise the rows of measures."""
