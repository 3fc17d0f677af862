"""Experiments: systems on a cohort, their answers in a database, statistics and a report."""
