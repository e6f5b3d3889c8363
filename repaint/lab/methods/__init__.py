"""Published methods that are not combinations of the sampler's parts, one kernel each, written from their papers."""
