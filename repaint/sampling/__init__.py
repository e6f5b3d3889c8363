"""The algorithms of the papers: noise levels, walks, merges, solvers and the loop, without pictures or networks."""
