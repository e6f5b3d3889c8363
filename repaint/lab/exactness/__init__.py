"""Compare samplers with known posteriors."""
