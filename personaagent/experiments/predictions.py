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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from personaagent.artifacts import replace_file
from personaagent.data import Rating, Task
from personaagent.errors import DataError
from personaagent.experiments.metrics import metrics_of, rouge
from personaagent.experiments.protocol import task_from_dict
from personaagent.experiments.results import ExperimentRow, PersonaRow, Results, Row
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


def write_predictions(answers: Results, folder: Path, only: Sequence[str] = ()) -> tuple[Path, ...]:
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
    places = []
    for one in chosen:
        name = file_name(one.protocol["task"]["name"], suffix=f"-{one.id[:8]}")
        places.append(folder / name)
        _write(answers, one, places[-1], one.protocol["systems"])
    return tuple(places)


def read_predictions(folder: Path) -> Results:
    """What `write_predictions` wrote, as a log in memory.

    Raises:
        DataError: the folder holds no experiment, or a file is damaged.
    """
    known = Results(folder, in_memory=True)
    try:
        for path in _experiments_in(folder):
            _read(path, known)
        if known.experiments():
            return known
        raise DataError(
            f"{folder}: there are no predictions: name a folder that --predictions wrote"
        )
    except BaseException:
        known.close()
        raise


def knows_predictions(folder: Path, user: str) -> bool:
    """Whether predictions in a folder are of a user.

    Raises:
        DataError: a file is damaged.
    """
    for path in _experiments_in(folder):
        with Results(path, in_memory=True) as known:
            _read(path, known)
            if known.knows(user):
                return True
    return False


def erase_predictions(folder: Path, user: str) -> int:
    """Take a user out of the predictions in a folder; how many lines and experiments it was in.

    Each experiment is erased where it lies, also one that was renamed or copied.

    Raises:
        DataError: a file is damaged.
        OSError: one cannot be written.
    """
    count = 0
    for path in _experiments_in(folder):
        place = path.parent
        with Results(path, in_memory=True) as known:
            systems = _read(path, known)
            gone = known.erase(user)
            for experiment in known.experiments() if gone else ():
                _write(known, experiment, place, systems)
            if not known.experiments():
                for file in (*place.glob("*.csv"), place / _MAP, path):
                    file.unlink(missing_ok=True)
        count += gone
    return count


def _experiments_in(folder: Path) -> list[Path]:
    """The files that begin an experiment each."""
    return sorted(folder.glob(f"*/{_EXPERIMENT}"))


def _read(path: Path, known: Results) -> list[str]:
    """Take an experiment into a log; the systems that there are tables of."""
    data = _json(path)
    try:
        experiment = ExperimentRow(**data)
        task = task_from_dict(experiment.protocol["task"])
        systems = list(experiment.protocol["systems"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: this is no experiment: {error!r}") from error
    run, place = experiment.run, path.parent
    tables = {one.stem for one in place.glob("*.csv") if one.name != _PERSONAS}
    systems += sorted(tables - set(systems))
    rows = [
        row for system in systems for row in _rows_of(place / f"{system}.csv", task, run, system)
    ]
    alike = _json(place / _MAP) if (place / _MAP).is_file() else None
    known.take(experiment, rows, [*_personas_of(place / _PERSONAS, run)], alike)
    return systems


def _write(
    answers: Results, experiment: ExperimentRow, place: Path, systems: Iterable[str]
) -> None:
    protocol = experiment.protocol
    task = task_from_dict(protocol["task"])
    place.mkdir(exist_ok=True)
    # The answers come last: where an erasure is killed they still say whose samples these are.
    _put(place / _EXPERIMENT, _pretty(asdict(experiment)))
    if (alike := answers.map_of(experiment.id)) is not None:
        _put(place / _MAP, json.dumps(alike) + "\n")
    else:
        (place / _MAP).unlink(missing_ok=True)
    names = [field.name for field in fields(PersonaRow) if field.name != "run"]
    known = answers.personas(experiment.run, set(protocol["samples"].values()))
    _put(place / _PERSONAS, _text(names, [asdict(one) for one in known]))
    rows = answers.rows(experiment.run, protocol["samples"])
    for system in systems:
        mine = [_line(task, row) for row in rows if row.system == system]
        _put(place / f"{system}.csv", _text(_columns(task), mine))


def _put(path: Path, text: str) -> None:
    """Write a file, whole or not at all, where it says something else; who may read it stays."""
    if not path.exists():
        path.write_text(text, encoding="utf-8", newline="")
    elif path.read_bytes() != text.encode():
        mode = path.stat().st_mode
        replace_file(path, text)
        path.chmod(mode)


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
