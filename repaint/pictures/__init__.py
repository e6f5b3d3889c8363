"""What people bring: images, masks and windows. Knows no model."""
