"""Which text is compiled in a translation unit, and its syntax trees."""
