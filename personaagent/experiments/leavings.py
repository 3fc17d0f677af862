"""What experiments leave of a user in files, and its erasure.

`evaluate` and its like work on files and not on a memory database, so what they leave is a place of
its own: a results database with its work folder, a folder of predictions, or a folder of `tune`.
Answers go by user, and the others' stay. Databases of work go whole: a persona, a question or a
trace in them may quote another user, and all that is lost with them is work that can be done again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from personaagent.errors import DataError
from personaagent.experiments.predictions import erase_predictions, knows_predictions
from personaagent.experiments.results import Results, is_results
from personaagent.experiments.trace import work_folder
from personaagent.memory import Store
from personaagent.memory.exports import delete_database
from personaagent.memory.schema import metadata


def knows(place: Path, user: str) -> bool:
    """Whether anything of a user is in a place.

    Raises:
        DataError: there is no such place.
        StoreError: it is something else, or a database in it cannot be read.
    """
    if place.is_dir():
        return knows_predictions(place, user) or any(_holds(one, user) for one in _asked(place))
    work = _work(place)
    if not place.is_file() and not work:
        raise DataError(
            f"{place}: there is nothing: name the database of --results, a folder of "
            "--predictions, or the folder of 'tune'"
        )
    if place.is_file():
        with Results(place, must_exist=True) as results:
            if results.knows(user):
                return True
    return any(_holds(one, user) for one in work)


def erase(place: Path, user: str) -> int:
    """Erase what a place holds of a user; how many rows, lines and files it was. A database that is
    no results database is one of unfinished work, and is deleted.

    Raises:
        DataError: a file of predictions is damaged.
        OSError: a file cannot be deleted or written.
        StoreError: a database cannot be written.
    """
    if place.is_dir():
        return erase_predictions(place, user) + sum(map(delete_database, _asked(place)))
    if place.is_file() and not _is_results(place):
        return int(delete_database(place))
    count = sum(map(delete_database, _work(place)))
    if place.is_file():
        with Results(place) as results:
            count += results.erase(user)
    return count


def _asked(folder: Path) -> list[Path]:
    """What an unfinished `tune` keeps; another search may be in a folder of its own."""
    return sorted(folder.rglob("asked-*.db"))


def _work(results: Path) -> list[Path]:
    return sorted(work_folder(results).glob("*.db"))


def _holds(path: Path, user: str) -> bool:
    with Store(path, create=False) as store, store.database.read() as connection:
        return any(
            connection.scalar(sa.select(sa.literal(1)).where(table.c.user == user).limit(1))
            for table in metadata.tables.values()
            if "user" in table.c
        )


def _is_results(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return is_results({name for (name,) in found})
    except sqlite3.OperationalError:
        raise  # it is locked, say: no reason to take it for something else
    except sqlite3.DatabaseError:
        return False
