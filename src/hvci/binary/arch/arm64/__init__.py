"""ARM64 words in terms of form/."""
