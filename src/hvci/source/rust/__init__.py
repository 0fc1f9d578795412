"""Driver crates: what Rust text asks of the kernel, with no toolchain installed."""
