"""The log of experiments, a database: one row for every sample that a system was asked.

What is written down as files (`predictions`) is read back into such a log, in memory.

A run is an LM, a task, data files and settings; its key is a digest of them, so an answer is found
again whenever the same thing would be asked. An experiment is a run on a chosen cohort, with its
protocol. Rows hold ids, answers and numbers, never a query, a history or a persona: those stay in
the work folder beside the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from personaagent.errors import DataError, StoreError
from personaagent.experiments.lineup import SWAPPED
from personaagent.files import private_file, private_folder

BUSY_SECONDS = 30

_metadata = sa.MetaData()

_experiments = sa.Table(
    "experiments",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("protocol", sa.JSON, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
)

_answers = sa.Table(
    "answers",
    _metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("sample", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("gold", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("distribution", sa.JSON(none_as_null=True)),
    sa.Column("loss", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("actions", sa.JSON, nullable=False),
    sa.Column("memories", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("input_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens", sa.Integer, nullable=False),
    sa.Column("money", sa.Float, nullable=False),
    sa.Column("ahead_seconds", sa.Float, nullable=False),
    sa.Column("ahead_calls", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("scores", sa.JSON(none_as_null=True)),
)

_personas = sa.Table(
    "personas",
    _metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("accepted", sa.Integer, nullable=False),
    sa.Column("directives", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("money", sa.Float, nullable=False),
)
_CORE = frozenset(_metadata.tables)

_maps = sa.Table(
    "maps",
    _metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("map", sa.JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one system made of one sample. Either `answer` or `error` is None.

    `actions` are names of tools, `memories` ids of interactions. `ahead_…` is what the system made
    of the history before the question was put (a profile, say), which the other numbers leave out.
    `attempts` counts the runs that tried it. `scores` stand for answers that are texts where these
    are left out (see `predictions`); a database has the texts instead.
    """

    run: str
    system: str
    sample: str
    user: str
    gold: str
    answer: str | None
    distribution: dict[str, float] | None = None
    loss: float | None = None
    error: str | None = None
    actions: tuple[str, ...] = ()
    memories: tuple[str, ...] = ()
    seconds: float = 0.0
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    money: float = 0.0
    ahead_seconds: float = 0.0
    ahead_calls: int = 0
    attempts: int = 1
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class PersonaRow:
    """What one user's persona cost, once, and what became of it; `seconds` is the wall clock while
    other users were worked on beside it."""

    run: str
    user: str
    hash: str
    steps: int
    accepted: int
    directives: int
    seconds: float
    calls: int
    tokens: int
    money: float


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """A run on a cohort; `protocol` says everything about it in plain values."""

    id: str
    run: str
    protocol: dict[str, Any]
    created: str


class Results:
    """A results database; thread-safe, and several processes may write to it.

    Args:
        path: its file.
        must_exist: a missing one is an error.
        in_memory: the log lives as long as the object; `path` says where it was read from.

    Raises:
        StoreError: the file is missing (where it must exist), or is something else.
    """

    def __init__(self, path: Path, *, must_exist: bool = False, in_memory: bool = False) -> None:
        self.path = path
        if must_exist and not path.is_file():
            raise StoreError(f"{path}: there is no such results database")
        if in_memory:
            self._engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        else:
            private_folder(path.parent)
            if not path.exists():
                private_file(path)
            url = sa.URL.create("sqlite", database=str(path))
            self._engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _overwrite_deleted)
        with self._explained():
            present = set(sa.inspect(self._engine).get_table_names())
            if present and not is_results(present):
                raise StoreError(f"{path}: this database is no results database: name another one")
            _metadata.create_all(self._engine)
            columns = {one["name"] for one in sa.inspect(self._engine).get_columns("answers")}
            if "scores" not in columns:  # made before there were any; or another process adds it
                add = sa.text("ALTER TABLE answers ADD COLUMN scores JSON")
                with suppress(sa.exc.OperationalError), self._engine.begin() as connection:
                    connection.execute(add)

    def begin(self, experiment: str, run: str, protocol: dict[str, Any], created: str = "") -> None:
        """Write an experiment down, by default as created now; one that is known keeps its
        `systems` beside the new ones."""
        with self._explained(), self._engine.begin() as connection:
            known = connection.scalar(
                sa.select(_experiments.c.protocol).where(_experiments.c.id == experiment)
            )
            systems = {**(known["systems"] if known else {}), **protocol["systems"]}
            row = {
                "id": experiment,
                "run": run,
                "protocol": {**protocol, "systems": systems},
                "created": created or datetime.now(UTC).isoformat(timespec="microseconds"),
            }
            made = insert(_experiments).values(row)
            connection.execute(
                made.on_conflict_do_update(
                    index_elements=["id"], set_={"protocol": made.excluded.protocol}
                )
            )

    def take(
        self,
        experiment: ExperimentRow,
        rows: Sequence[Row],
        personas: Sequence[PersonaRow],
        alike: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down an experiment that is known from elsewhere, as if it had been asked here. What
        stands here stays; an answer takes the place of a failure."""
        self.begin(experiment.id, experiment.run, experiment.protocol, experiment.created)
        told = [{c.name: getattr(row, c.name) for c in _answers.c} for row in rows]
        made = insert(_answers)
        upsert = made.on_conflict_do_update(
            index_elements=["run", "system", "sample"],
            set_={c.name: made.excluded[c.name] for c in _answers.c if not c.primary_key},
            where=sa.and_(_answers.c.answer.is_(None), made.excluded.answer.is_not(None)),
        )
        with self._explained(), self._engine.begin() as connection:
            if told:
                connection.execute(upsert, told)
            if personas:
                known = insert(_personas).on_conflict_do_nothing()
                connection.execute(known, [asdict(one) for one in personas])
        if alike is not None and self.map_of(experiment.id) is None:
            self.record_map(experiment.id, alike)

    def take_over(self, known: Results) -> None:
        """Go on from what another log holds: all of its experiments.

        Raises:
            DataError: it holds the scores of texts and not the texts.
        """
        for one in known.experiments():
            rows = known.rows(one.run, one.protocol["samples"])
            if not one.protocol["task"]["labels"] and any(row.scores for row in rows):
                raise DataError(
                    f"{known.path}: it holds the scores of texts and not the texts, so these "
                    "answers cannot be gone on from"
                )
            personas = known.personas(one.run, set(one.protocol["samples"].values()))
            self.take(one, rows, personas, known.map_of(one.id))

    def record(self, row: Row) -> None:
        """Write a row: an answer stands for ever, a failure is replaced by what comes after it."""
        made = insert(_answers).values({c.name: getattr(row, c.name) for c in _answers.c})
        fresh: dict[str, Any] = {
            c.name: made.excluded[c.name] for c in _answers.c if not c.primary_key
        }
        fresh["attempts"] = _answers.c.attempts + 1
        upsert = made.on_conflict_do_update(
            index_elements=["run", "system", "sample"],
            set_=fresh,
            where=_answers.c.answer.is_(None),
        )
        with self._explained(), self._engine.begin() as connection:
            connection.execute(upsert)

    def record_persona(self, row: PersonaRow) -> None:
        """Write what a persona cost; the first time counts, later ones find the work done."""
        with self._explained(), self._engine.begin() as connection:
            connection.execute(insert(_personas).values(**asdict(row)).on_conflict_do_nothing())

    def record_map(self, experiment: str, content: Mapping[str, Any]) -> None:
        """Write down how alike the users of an experiment are, in place of what was known."""
        made = insert(_maps).values(experiment=experiment, map=dict(content))
        upsert = made.on_conflict_do_update(
            index_elements=["experiment"], set_={"map": made.excluded.map}
        )
        with self._explained(), self._engine.begin() as connection:
            connection.execute(upsert)

    def map_of(self, experiment: str) -> dict[str, Any] | None:
        """How alike its users are (`PersonaMap`), where that was looked at."""
        select = sa.select(_maps.c.map).where(_maps.c.experiment == experiment)
        with self._explained(), self._engine.connect() as connection:
            found: dict[str, Any] | None = connection.scalar(select)
        return found

    def answered(self, run: str, system: str) -> set[str]:
        """The samples that need not be asked again."""
        c = _answers.c
        select = sa.select(c.sample).where(c.run == run, c.system == system, c.answer.is_not(None))
        with self._explained(), self._engine.connect() as connection:
            return set(connection.scalars(select))

    def adopt(self, run: str, others: Collection[str], systems: Collection[str]) -> None:
        """Take over what these systems answered in other runs, where this one has nothing yet."""
        c = _answers.c
        copied = [sa.literal(run).label("run"), *(one for one in c if one is not c.run)]
        theirs = sa.select(*copied).where(
            c.run.in_(others), c.system.in_(systems), c.answer.is_not(None)
        )
        taken = insert(_answers).from_select([one.name for one in c], theirs)
        with self._explained(), self._engine.begin() as connection:
            connection.execute(taken.on_conflict_do_nothing())

    def rows(self, run: str, samples: Collection[str]) -> list[Row]:
        """The rows of some samples of a run, by system and in the order of `samples`."""
        place = {sample: at for at, sample in enumerate(samples)}
        with self._explained(), self._engine.connect() as connection:
            found = connection.execute(sa.select(_answers).where(_answers.c.run == run)).mappings()
            made = [_made(one) for one in found if one["sample"] in place]
        return sorted(made, key=lambda row: (row.system, place[row.sample]))

    def personas(self, run: str, users: Collection[str]) -> list[PersonaRow]:
        """What the personas of these users cost."""
        names = [field.name for field in fields(PersonaRow)]
        select = sa.select(_personas).where(_personas.c.run == run).order_by(_personas.c.user)
        with self._explained(), self._engine.connect() as connection:
            found = connection.execute(select).mappings().all()
        return [PersonaRow(*(row[n] for n in names)) for row in found if row["user"] in users]

    def experiments(self) -> list[ExperimentRow]:
        """Every experiment, the oldest first."""
        order = (_experiments.c.created, _experiments.c.id)
        with self._explained(), self._engine.connect() as connection:
            found = connection.execute(sa.select(_experiments).order_by(*order)).all()
        return [ExperimentRow(*row) for row in found]

    def forget(self, run: str, systems: Sequence[str], *, personas: bool = False) -> int:
        """Drop what these systems answered in a run, so that it is asked again; how much it was."""
        c = _answers.c
        with self._explained(), self._engine.begin() as connection:
            if personas:
                connection.execute(_personas.delete().where(_personas.c.run == run))
            gone = connection.execute(_answers.delete().where(c.run == run, c.system.in_(systems)))
            return gone.rowcount

    def knows(self, user: str) -> bool:
        """Whether it holds answers of a user, or counts one in an experiment."""
        with self._explained(), self._engine.connect() as connection:
            return bool(_parts_of(connection, user)) or any(
                connection.scalar(sa.select(sa.func.count()).where(table.c.user == user))
                for table in (_answers, _personas)
            )

    def erase(self, user: str) -> int:
        """Delete what is known of a user so that the file holds none of it; how many rows it was.

        Answers that others got under this user's persona, in the swap test, may quote it: of these
        only the task's own labels stay. An experiment that was of this user alone goes whole.
        """
        count = 0
        with self._explained(), self._engine.begin() as connection:
            parts = _parts_of(connection, user)
            a, p = _answers.c, _personas.c
            for id, (run, protocol, samples) in parts.items():
                mine = sa.and_(a.run == run, a.sample.in_(samples))
                swapped = sa.and_(
                    *(a.run == run, a.system == SWAPPED),
                    sa.or_(a.answer.is_(None), a.answer.not_in(protocol["task"]["labels"])),
                )
                stores = {protocol["samples"][sample] for sample in samples}
                for gone in (
                    _answers.delete().where(sa.or_(mine, swapped)),
                    _personas.delete().where(p.run == run, p.user.in_(stores)),
                ):
                    count += connection.execute(gone).rowcount
                count += _write_without(connection, id, protocol, samples, user)
            for table in (_answers, _personas):  # of a system that no experiment lists any more
                count += connection.execute(table.delete().where(table.c.user == user)).rowcount
        with self._explained():
            raw = self._engine.raw_connection()  # VACUUM takes no transaction
            try:
                raw.cursor().execute("VACUUM")
            finally:
                raw.close()
        return count

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            if not isinstance(error.orig, sqlite3.Error):
                raise
            raise StoreError(
                f"{self.path}: {error.orig}: see that it is a results database, that you may "
                "write there and that the disk has room"
            ) from error


def _made(found: Any) -> Row:
    row = dict(found)
    return Row(**row | {"actions": tuple(row["actions"]), "memories": tuple(row["memories"])})


def is_results(tables: Collection[str]) -> bool:
    """Whether a database with these tables is a results database."""
    return set(tables) >= _CORE


def samples_of(protocol: Mapping[str, Any], user: str) -> set[str]:
    """The samples of an experiment that a user of this name has in the store. Where every question
    is a user of its own there (see `cohort`), answers alone say whose it is."""
    return {one for one, stored in protocol["samples"].items() if stored == user}


def protocol_without(protocol: Mapping[str, Any], samples: Collection[str]) -> dict[str, Any]:
    """The protocol of an experiment that never asked these samples, which are one user's."""
    kept = {one: stored for one, stored in protocol["samples"].items() if one not in samples}
    fewer = len(kept) < len(protocol["samples"])
    return {**protocol, "samples": kept, "users": protocol["users"] - fewer}


def map_without(map: Mapping[str, Any], user: str) -> dict[str, Any] | None:
    """A persona map without a user; None where no two users are left."""
    names = list(map["users"])
    if user not in names:
        return dict(map)
    at = names.index(user)
    if len(names) < 3:
        return None
    pairs = list(combinations(range(len(names)), 2))  # the order of `PersonaMap.to_dict`
    return {
        name: [one for one, pair in zip(values, pairs, strict=True) if at not in pair]
        if name in ("personas", "histories")
        else [*values[:at], *values[at + 1 :]]
        for name, values in map.items()
    }


_Part = tuple[str, dict[str, Any], set[str]]


def _parts_of(connection: sa.Connection, user: str) -> dict[str, _Part]:
    """By experiment that a user is in: its run, its protocol, and the user's samples."""
    c = _answers.c
    found: dict[str, _Part] = {}
    for id, run, protocol, _ in connection.execute(sa.select(_experiments)):
        answered = connection.scalars(sa.select(c.sample).where(c.run == run, c.user == user))
        asked = set(answered).intersection(protocol["samples"])
        if samples := asked | samples_of(protocol, user):
            found[id] = run, protocol, samples
    return found


def _write_without(
    connection: sa.Connection,
    id: str,
    protocol: Mapping[str, Any],
    samples: Collection[str],
    user: str,
) -> int:
    """Take a user out of an experiment and its map."""
    this, its_map = _experiments.c.id == id, _maps.c.experiment == id
    left = protocol_without(protocol, samples)
    if left["samples"]:
        connection.execute(_experiments.update().where(this).values(protocol=left))
    else:
        connection.execute(_experiments.delete().where(this))
    known = connection.scalar(sa.select(_maps.c.map).where(its_map))
    smaller = map_without(known, user) if known and left["samples"] else None
    if smaller is None:
        connection.execute(_maps.delete().where(its_map))
    else:
        connection.execute(_maps.update().where(its_map).values(map=smaller))
    return 1


def _overwrite_deleted(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA secure_delete = ON")
