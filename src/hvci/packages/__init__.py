"""What holds drivers: packages with an INF, and archives. Bytes in, drivers out; judges nothing."""
