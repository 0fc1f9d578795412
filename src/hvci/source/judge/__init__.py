"""From calls in text to facts, for each product and configuration."""
