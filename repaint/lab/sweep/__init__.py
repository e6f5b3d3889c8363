"""Grids of cells to rows of measures."""
