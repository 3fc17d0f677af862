"""Benchmarks: each prints a Markdown table; `--quick` runs it in small."""
