"""Where the time goes beside the network."""
