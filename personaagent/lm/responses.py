"""DSPy's response cache: what LMs said, kept by a hash of what they were asked."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_PATIENCE = 30.0  # seconds that another process may be writing


def hide_responses() -> None:
    """Let only its owner into the folder of the cache: DSPy makes it readable by all."""
    import dspy

    folder = Path(dspy.cache.disk_cache_dir or "")
    if dspy.cache.enable_disk_cache and folder.is_dir() and folder.stat().st_mode & 0o077:
        with suppress(OSError):  # somebody else's, or a read-only disk
            folder.chmod(0o700)


def clear_responses() -> int:
    """Empty the cache on disk and in this process; the number of responses that were on disk.

    Its keys are hashes, so nobody can tell whose response is whose; all must go. What it costs is
    that the same calls are made again.

    Raises:
        OSError, sqlite3.Error: another process would not let go of it.
    """
    import dspy

    dspy.cache.reset_memory_cache()
    shards = sorted(Path(dspy.cache.disk_cache_dir or "").glob("[0-9]*/cache.db"))
    count = 0
    for shard in shards:
        connection = sqlite3.connect(shard, timeout=_PATIENCE, isolation_level=None)
        with closing(connection):
            files = connection.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")
            large = [shard.parent / name for (name,) in files]
            count += connection.execute("DELETE FROM Cache").rowcount
            connection.execute("VACUUM")  # or deleted rows stay readable in the file
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for path in large:
            path.unlink(missing_ok=True)
    return count
