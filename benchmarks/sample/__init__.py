"""How the sample data set of the package was made: `python -m benchmarks.sample`."""
