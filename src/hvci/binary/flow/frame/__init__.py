"""What single instructions tell of the frame, before the data flow is asked."""
