"""What flags say."""
