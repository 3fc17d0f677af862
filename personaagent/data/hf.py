"""Interactions as a Hugging Face `datasets.Dataset`, and back.

`datasets` takes a second to import, so it is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.data.interaction import Interaction
from personaagent.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, Features


def features() -> Features:
    """The columns: those of an interaction; times in UTC, metadata as a list of key and value."""
    from datasets import Features, List, Value

    text, moment = Value("string"), Value("timestamp[us, tz=UTC]")
    return Features(
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


def to_dataset(interactions: Iterable[Interaction]) -> Dataset:
    """The interactions as a dataset in memory, in their order."""
    from datasets import Dataset

    rows = [_row(one) for one in interactions]
    columns = features()
    # Column by column: `from_list` would lose the columns of an empty history.
    return Dataset.from_dict({name: [row[name] for row in rows] for name in columns}, columns)


def cached_dataset(
    interactions: Callable[[], Iterable[Interaction]],
    fingerprint: str,
    *,
    cache_dir: Path | None = None,
) -> Dataset:
    """The interactions as a dataset on disk, built once and then mapped from there.

    `fingerprint` names everything that they depend on: the same one is never built again.
    `cache_dir` is the folder of the cache, by default that of `datasets` (`HF_DATASETS_CACHE`).

    Raises:
        DataError: what `interactions` raises, or there are none; nothing stays in the cache.
    """
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    def rows() -> Iterator[dict[str, Any]]:
        empty = True
        for one in interactions():
            empty = False
            yield _row(one)
        if empty:  # `datasets` would fail on it with a riddle
            raise DataError("there are no interactions: an empty dataset cannot be cached")

    try:
        return Dataset.from_generator(
            rows,
            features=features(),
            fingerprint=fingerprint,
            cache_dir=None if cache_dir is None else str(cache_dir),
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise


def from_dataset(dataset: Dataset) -> Iterator[Interaction]:
    """The interactions of a dataset that `to_dataset` or a loader made.

    Raises:
        DataError: the columns are others.
    """
    missing = sorted(set(features()) - set(dataset.column_names))
    if missing:
        raise DataError(f"dataset: it lacks the columns {', '.join(missing)}")
    for row in dataset:
        yield Interaction(
            id=row["id"],
            user=row["user"],
            task=row["task"],
            query=row["query"],
            response=row["response"],
            time=_utc(row["time"]),
            weight=row["weight"],
            source=row["source"],
            expires=_utc(row["expires"]),
            metadata={pair["key"]: pair["value"] for pair in row["metadata"]},
        )


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
