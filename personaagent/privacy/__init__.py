"""Erasure in every place that holds something of a user."""
