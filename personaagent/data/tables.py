"""Interactions in tables: Parquet, CSV and Arrow files and the folders of `Dataset.save_to_disk`,
read by Hugging Face `datasets` row by row; and interactions as a `Dataset`.

The columns are the fields of a line of JSON (see `jsonl`). A time is a moment with a zone or its
text, `metadata` is a map, a struct or a list of keys and values. `datasets` takes a second to
import, so it is imported when it is used.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.data.files import opened
from personaagent.data.interaction import Interaction
from personaagent.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_KINDS = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}
_OPTIONAL = ("time", "weight", "source", "expires", "metadata", "signal")


def is_table(path: str | Path) -> bool:
    """Whether a file or folder is read as a table."""
    path = Path(path)
    return path.suffix.casefold() in _KINDS or (path / "dataset_info.json").is_file()


def rows(path: str | Path) -> Generator[tuple[int, Any]]:
    """The rows of a table with their numbers, from 1; what is empty in a row is left out.

    Raises:
        DataError: it cannot be read.
    """
    from datasets import Dataset, disable_progress_bars, load_dataset, load_from_disk

    disable_progress_bars()
    path = Path(path)
    kind = _KINDS.get(path.suffix.casefold())
    try:
        if kind is None:
            table = load_from_disk(str(path))
            if not isinstance(table, Dataset):
                parts = ", ".join(f"{path}/{name}" for name in table)
                raise DataError(f"{path}: it has several parts: name one of {parts}")
        else:
            options = _as_text(path) if kind == "csv" else {}
            if not path.is_file():
                raise DataError(f"{path}: there is no such file")
            table = load_dataset(
                kind, data_files=str(path), split="train", streaming=True, **options
            )
        for number, row in enumerate(table, 1):
            yield (
                number,
                {name: _plain(name, one) for name, one in row.items() if _given(name, one)},
            )
    except DataError:
        raise
    except Exception as error:  # those of pyarrow, pandas and datasets have no common family
        raise DataError(f"{path}: it cannot be read as a table: {error}") from error


def _as_text(path: Path) -> dict[str, Any]:
    """Options to read CSV as it stands: what looks like a number may be a name."""
    from datasets import Features, Value

    with opened(path) as stream:
        header = next(csv.reader([stream.readline().decode()]), [])
    return {"features": Features({one: Value("string") for one in header}), "na_filter": False}


def _given(name: str, value: Any) -> bool:
    """Whether a cell says something; an empty text does for what must be there."""
    return value not in (None, [], {}) and not (value == "" and name in _OPTIONAL)


def _plain(name: str, value: Any) -> Any:
    """A value as a line of JSON would have it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(one, dict) and "key" in one for one in value):
        return {one["key"]: one["value"] for one in value}
    if isinstance(value, dict):  # a struct has every key in every row
        return {key: one for key, one in value.items() if one is not None}
    if name == "weight" and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def to_dataset(interactions: Iterable[Interaction]) -> Dataset:
    """The interactions as a dataset in memory, in their order.

    `read_interactions` reads what its `to_parquet` and `save_to_disk` write.
    """
    from datasets import Dataset, Features, List, Value

    text, moment = Value("string"), Value("timestamp[us, tz=UTC]")
    columns = Features(
        {
            "id": text,
            "user": text,
            "task": text,
            "query": text,
            "response": text,
            "time": moment,
            "weight": Value("float64"),
            "source": text,
            "expires": moment,
            "metadata": List({"key": text, "value": text}),
        }
    )
    made = [_row(one) for one in interactions]
    # Column by column: `from_list` would lose the columns of an empty history.
    return Dataset.from_dict({name: [row[name] for row in made] for name in columns}, columns)


def _row(one: Interaction) -> dict[str, Any]:
    return {
        "id": one.id,
        "user": one.user,
        "task": one.task,
        "query": one.query,
        "response": one.response,
        "time": _utc(one.time),
        "weight": one.weight,
        "source": one.source,
        "expires": _utc(one.expires),
        "metadata": [{"key": key, "value": value} for key, value in one.metadata.items()],
    }


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC)
