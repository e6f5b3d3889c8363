"""The papers: noise levels, walks, merges, solvers and the loop. Knows no picture and no network."""
