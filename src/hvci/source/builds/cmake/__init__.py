"""CMake lists, run for one configuration."""
