"""The ways to reach a routine, and what its arguments are; judges nothing."""
