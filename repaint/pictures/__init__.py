"""Images, masks and windows, independent of models."""
