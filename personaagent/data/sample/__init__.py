"""Sample data set: eight invented users with habits that contradict the common reading."""
