"""What bytes mean and how they are written, for each format."""
