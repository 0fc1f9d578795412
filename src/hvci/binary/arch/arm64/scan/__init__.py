"""What is told of all words of an ARM64 image at once, and the references that this proposes."""
