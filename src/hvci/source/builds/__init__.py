"""What is built of a target: products, configurations, their units; no text is judged."""
