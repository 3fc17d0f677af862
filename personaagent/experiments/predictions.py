"""Answers as small text files that can be kept under version control, and read back to compute
every figure again.

No text of a data set is in them: a sample and a user are ids, an answer is a label or a number, and
where answers are texts their scores stand instead. An error is its kind alone.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from personaagent.artifacts import replace_file
from personaagent.data import Rating, Task
from personaagent.errors import DataError
from personaagent.experiments.answers import Answers
from personaagent.experiments.metrics import metrics_of, rouge
from personaagent.experiments.protocol import task_from_dict
from personaagent.experiments.results import (
    ExperimentRow,
    PersonaRow,
    Row,
    map_without,
    protocol_without,
    samples_of,
)
from personaagent.files import file_name

_EXPERIMENT, _PERSONAS, _MAP, _GUIDE = "experiment.json", "personas.csv", "map.json", "README.md"
_OTHER = "(other)"  # an answer that is none of the task's: wrong whatever it says
_NUMBERS: dict[str, Callable[[str], Any]] = {
    "loss": float,
    "seconds": float,
    "calls": int,
    "input_tokens": int,
    "cached_tokens": int,
    "output_tokens": int,
    "money": float,
    "ahead_seconds": float,
    "ahead_calls": int,
    "attempts": int,
}
_GUIDE_TEXT = """\
# Predictions

Written by `personaagent evaluate --predictions`. `personaagent evaluate --recompute --results` with
the name of this folder computes every table, interval, test and figure again from these files; it
asks no LM and needs no data.

A folder is an experiment: one LM on one cohort of one data set.

| file | what is in it |
|---|---|
| `experiment.json` | the protocol: task, LM, data and its SHA-256, cohort, setup, sample ids |
| `<system>.csv` | a line a sample that the system was asked |
| `personas.csv` | what each user's persona cost, and what became of it |
| `map.json` | cosines between users, of personas and of histories (above the diagonal, by row) |

| column | what it says |
|---|---|
| `sample`, `user` | ids of the data set |
| `gold`, `answer` | labels or numbers; `(other)` is an answer that is none of the task's |
| `rouge_l`, `rouge_1` | instead of both where answers are texts |
| `loss` | -ln p(gold) where the LM's likelihoods were read, else 1 minus the score |
| `error` | the kind of error of a sample that failed; it has no answer and no score |
| `seconds` | wall time of the answer |
| `calls`, `input_tokens`, `cached_tokens`, `output_tokens`, `money` (dollars) | of the LM |
| `ahead_seconds`, `ahead_calls` | what was made of the history before the question was put |
| `attempts` | the runs that tried it |
"""


def write_predictions(answers: Answers, folder: Path, only: Sequence[str] = ()) -> tuple[Path, ...]:
    """Write the experiments of these ids (by default all) to folders of their own; their paths.

    What the folders hold of these experiments already is replaced.

    Raises:
        DataError: there is no experiment.
    """
    chosen = [one for one in answers.experiments() if not only or one.id in only]
    if not chosen:
        raise DataError(f"{answers.path}: there is no experiment in it yet")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _GUIDE).write_text(_GUIDE_TEXT, encoding="utf-8")
    return tuple(_write(answers, one, folder) for one in chosen)


class Predictions:
    """What `write_predictions` wrote, read back: it serves a report as a results database does.

    Raises:
        DataError: the folder holds no experiment, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._experiments: list[ExperimentRow] = []
        self._rows: dict[tuple[str, str, str], Row] = {}
        self._personas: dict[tuple[str, str], PersonaRow] = {}
        self._maps: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.glob(f"*/{_EXPERIMENT}")):
            self._read(path)
        if not self._experiments:
            raise DataError(
                f"{folder}: there are no predictions: name a folder that --predictions wrote"
            )
        self._experiments.sort(key=lambda one: (one.created, one.id))

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder

    def experiments(self) -> list[ExperimentRow]:
        """Every experiment, the oldest first."""
        return list(self._experiments)

    def rows(self, run: str, samples: Collection[str]) -> list[Row]:
        """The rows of some samples of a run, by system and in the order of `samples`."""
        place = {sample: at for at, sample in enumerate(samples)}
        found = [r for r in self._rows.values() if r.run == run and r.sample in place]
        return sorted(found, key=lambda row: (row.system, place[row.sample]))

    def personas(self, run: str, users: Collection[str]) -> list[PersonaRow]:
        """What the personas of these users cost."""
        found = [p for p in self._personas.values() if p.run == run and p.user in users]
        return sorted(found, key=lambda one: one.user)

    def map_of(self, experiment: str) -> dict[str, Any] | None:
        """How alike its users are, where that was looked at."""
        return self._maps.get(experiment)

    def _read(self, path: Path) -> None:
        data = _json(path)
        try:
            experiment = ExperimentRow(**data)
            task = task_from_dict(experiment.protocol["task"])
            systems = list(experiment.protocol["systems"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: this is no experiment: {error!r}") from error
        self._experiments.append(experiment)
        for system in systems:
            for row in _rows_of(path.parent / f"{system}.csv", task, experiment.run, system):
                self._rows[row.run, row.system, row.sample] = row
        for persona in _personas_of(path.parent / _PERSONAS, experiment.run):
            self._personas[persona.run, persona.user] = persona
        if (map := path.parent / _MAP).is_file():
            self._maps[experiment.id] = _json(map)


def knows_predictions(folder: Path, user: str) -> bool:
    """Whether predictions in a folder are of a user.

    Raises:
        DataError: a file is damaged.
    """
    return any(_parts_of(folder, user))


def erase_predictions(folder: Path, user: str) -> int:
    """Take a user out of the predictions in a folder; how many lines and experiments it was in.

    Raises:
        DataError: a file is damaged.
        OSError: one cannot be written.
    """
    count = 0
    for path, data, samples in list(_parts_of(folder, user)):
        place, protocol = path.parent, data["protocol"]
        stores = {user, *samples, *(protocol["samples"].get(one, user) for one in samples)}
        left = protocol_without(protocol, samples)
        count += 1
        tables = sorted(place.glob("*.csv"), key=lambda one: one.name != _PERSONAS)
        if not left["samples"]:
            for file in (*tables, place / _MAP, path):
                file.unlink(missing_ok=True)
            continue
        # The answers come last: after a kill they still say whose samples these are.
        _replace(path, _pretty({**data, "protocol": left}))
        if (map := place / _MAP).is_file():
            smaller = map_without(_json(map), user)
            if smaller is None:
                map.unlink()
            else:
                _replace(map, json.dumps(smaller) + "\n")
        for table in tables:
            columns, lines = _whole(table)
            key, gone = ("user", stores) if table.name == _PERSONAS else ("sample", samples)
            kept = [one for one in lines if one[key] not in gone]
            count += len(lines) - len(kept)
            _replace(table, _text(columns, kept))
    return count


def _parts_of(folder: Path, user: str) -> Iterator[tuple[Path, dict[str, Any], set[str]]]:
    """The experiments that a user is in: the file, what it says, and the user's samples."""
    for path in sorted(folder.glob(f"*/{_EXPERIMENT}")):
        data = _json(path)
        answered: set[str] = set()
        for table in path.parent.glob("*.csv"):
            columns, lines = _whole(table)
            if "sample" in columns:
                answered |= {one["sample"] for one in lines if one["user"] == user}
        try:
            if samples := answered | samples_of(data["protocol"], user):
                yield path, data, samples
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: this is no experiment: {error!r}") from error


def _whole(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the lines of a table."""
    lines = [values for _, values in _lines(table, ["user"])]
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream).fieldnames or ()), lines


def _replace(path: Path, text: str) -> None:
    """Write a file anew, whole or not at all; who may read it stays as it is."""
    mode = path.stat().st_mode
    replace_file(path, text)
    path.chmod(mode)


def _write(answers: Answers, experiment: ExperimentRow, folder: Path) -> Path:
    protocol = experiment.protocol
    task = task_from_dict(protocol["task"])
    place = folder / file_name(task.name, suffix=f"-{experiment.id[:8]}")
    place.mkdir(exist_ok=True)
    (place / _EXPERIMENT).write_text(_pretty(asdict(experiment)), encoding="utf-8")
    rows = answers.rows(experiment.run, protocol["samples"])
    for system in protocol["systems"]:
        mine = [_line(task, row) for row in rows if row.system == system]
        _table(place / f"{system}.csv", _columns(task), mine)
    names = [field.name for field in fields(PersonaRow) if field.name != "run"]
    known = answers.personas(experiment.run, set(protocol["samples"].values()))
    _table(place / _PERSONAS, names, [asdict(one) for one in known])
    if (alike := answers.map_of(experiment.id)) is not None:
        (place / _MAP).write_text(json.dumps(alike) + "\n", encoding="utf-8")
    return place


def _columns(task: Task) -> list[str]:
    return ["sample", "user", *_judged(task), "error", *_NUMBERS]


def _judged(task: Task) -> list[str]:
    """What metrics are computed from: labels and numbers, or the scores of texts."""
    return ["gold", "answer"] if task.labels else [one.name for one in metrics_of(task)]


def _line(task: Task, row: Row) -> dict[str, Any]:
    kind = row.error.partition(":")[0] if row.error else ""  # the message may quote the data
    line: dict[str, Any] = {**asdict(row), "error": kind}
    if row.answer is None:
        return line | {"answer": "", "loss": ""}
    if task.labels:
        return line | {"answer": _public(task, row.answer)}
    return {**line, **(row.scores or rouge(row.gold, row.answer))}


def _public(task: Task, answer: str) -> str:
    """The answer, unless it may be anything."""
    if answer in task.labels:
        return answer
    number = isinstance(task, Rating) and re.fullmatch(r"-?\d+(\.\d+)?", answer)
    return answer if number else _OTHER


def _rows_of(path: Path, task: Task, run: str, system: str) -> Iterator[Row]:
    for line, values in _lines(path, _columns(task)):
        try:
            read = {k: make(values[k]) for k, make in _NUMBERS.items() if values[k] != ""}
            failed = values["error"] != ""
            said: dict[str, Any] = {"gold": values.get("gold", ""), "answer": None}
            if not failed:
                said["answer"] = values.get("answer", "")
                if not task.labels:
                    said["scores"] = {name: float(values[name]) for name in _judged(task)}
            yield Row(
                run,
                system,
                values["sample"],
                values["user"],
                error=values["error"] or None,
                **said,
                **read,
            )
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}") from error


def _personas_of(path: Path, run: str) -> Iterator[PersonaRow]:
    names = [field.name for field in fields(PersonaRow) if field.name != "run"]
    for line, values in _lines(path, names):
        try:
            counts = {k: int(values[k]) for k in ("steps", "accepted", "directives", "calls")}
            yield PersonaRow(
                run,
                values["user"],
                values["hash"],
                **counts,
                seconds=float(values["seconds"]),
                tokens=int(values["tokens"]),
                money=float(values["money"]),
            )
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}") from error


def _table(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text(_text(columns, lines), encoding="utf-8", newline="")


def _text(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a table with their numbers in the file."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [one for one in columns if one not in (reader.fieldnames or ())]:
                raise DataError(f"{path}: it lacks the columns {', '.join(missing)}")
            for values in reader:
                if any(values[one] is None for one in columns):
                    raise DataError(f"{path}: line {reader.line_num}: it is cut off")
                yield reader.line_num, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: it must hold an object")
    return data


def _pretty(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"
