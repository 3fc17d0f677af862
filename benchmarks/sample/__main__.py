"""Write history.jsonl and queries.jsonl of the sample from pool.json and the sample's tasks.json.

Run ``python -m benchmarks.sample``: the result depends only on the two input
files and SEED, byte for byte. A broken property raises ValueError with the offender's name.
"""

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from personaagent import data

POOL = Path(__file__).with_name("pool.json")
SAMPLE = Path(data.__file__).with_name("sample")
SEED = 2026
HISTORY_SPAN = (datetime(2026, 3, 1), 184)  # first day, number of days
QUERY_SPAN = (datetime(2026, 9, 1), 30)
HABIT_HISTORY, HABIT_HELD = 8, 2  # items of each habit
ORDINARY_HISTORY, ORDINARY_HELD = 16, 4
RECENT = 12  # so many last history items hold at least two of each habit


class Item(NamedTuple):
    """A text with the user's response; habit is -1 for an ordinary item."""

    text: str
    response: str
    habit: int


def check(ok: bool, message: str) -> None:
    """Raise ValueError with the message unless ok."""
    if not ok:
        raise ValueError(message)


def check_user(task: dict[str, Any], ordinary: list[Any], user: str, habits: list[Any]) -> None:
    """Check labels, texts, and that each habit is far from the common reading."""
    rating = task["kind"] == "rating"
    labels = [str(n) for n in range(task["low"], task["high"] + 1)] if rating else task["labels"]
    check(len(habits) == 3, f"{user}: not three habits")
    for item in ordinary:
        check(str(item["response"]) in labels, f"{task['name']}: bad response: {item}")
    for habit in habits:
        mine = str(habit["response"])
        check(mine in labels, f"{user}: bad response: {habit['rule']}")
        check(len(habit["items"]) >= HABIT_HISTORY + HABIT_HELD, f"{user}: few: {habit['rule']}")
        for item in habit["items"]:
            common = str(item["common"])
            far = common in labels and common != mine
            check(far and (not rating or abs(int(common) - int(mine)) >= 2), f"{user}: {item}")
    texts = [item["text"] for group in [ordinary, *(h["items"] for h in habits)] for item in group]
    for text, count in Counter(texts).items():
        check(count == 1, f"{user}: text occurs twice: {text}")
        check(text.isascii() and 8 <= len(text.split()) <= 30, f"{user}: bad text: {text}")


def draw(ordinary: list[Any], habits: list[Any], rng: random.Random) -> list[list[Item]]:
    """Choose the history and the held-out items of a user, both mixed."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, Item]] = []  # each ordinary item with its rank in its response
    for raw in rng.sample(ordinary, len(ordinary)):
        item = Item(raw["text"], str(raw["response"]), -1)
        ranked.append((seen[item.response], item))
        seen[item.response] += 1
    balanced = [item for _, item in sorted(ranked, key=lambda pair: pair[0])]
    held = balanced[:ORDINARY_HELD]
    history = balanced[ORDINARY_HELD : ORDINARY_HELD + ORDINARY_HISTORY]
    for n, habit in enumerate(habits):
        texts = [raw["text"] for raw in rng.sample(habit["items"], HABIT_HISTORY + HABIT_HELD)]
        items = [Item(text, str(habit["response"]), n) for text in texts]
        held += items[:HABIT_HELD]
        history += items[HABIT_HELD:]
    rng.shuffle(held)
    while True:
        rng.shuffle(history)
        recent = Counter(item.habit for item in history[-RECENT:])
        if all(recent[n] >= 2 for n in range(len(habits))):
            return [history, held]


def times(span: tuple[datetime, int], count: int, rng: random.Random) -> list[str]:
    """Increasing timestamps between 7 and 22 o'clock on random days of the span."""
    moments: set[datetime] = set()
    while len(moments) < count:
        second = rng.randrange(7 * 3600, 22 * 3600)
        moments.add(span[0] + timedelta(days=rng.randrange(span[1]), seconds=second))
    return [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in sorted(moments)]


def main() -> None:
    """Check the pool, draw every user's items and write both files."""
    pools = json.loads(POOL.read_text(encoding="utf-8"))
    lines: dict[str, list[str]] = {"history": [], "queries": []}
    for task in json.loads((SAMPLE / "tasks.json").read_text(encoding="utf-8")):
        pool = pools[task["name"]]
        for user, entry in pool["users"].items():
            check_user(task, pool["ordinary"], user, entry["habits"])
            rng = random.Random(f"{SEED} {user}")
            history, held = draw(pool["ordinary"], entry["habits"], rng)
            check((len(history), len(held)) == (40, 10), f"{user}: not 40 and 10 items")
            past, later = times(HISTORY_SPAN, 40, rng), times(QUERY_SPAN, 10, rng)
            check(past[-1] < later[0], f"{user}: a query is not after the history")
            both = {item.text for item in history} & {item.text for item in held}
            check(not both, f"{user}: held-out texts in the history: {both}")
            for name, items, stamps in (("history", history, past), ("queries", held, later)):
                for n, (item, time) in enumerate(zip(items, stamps, strict=True), start=1):
                    key = f"{user}-{n:03}" if name == "history" else f"{user}-q{n:02}"
                    record: dict[str, Any] = {"id": key, "user": user, "task": task["name"]}
                    record |= {"query": item.text, "response": item.response, "time": time}
                    if name == "queries":
                        record["habit"] = item.habit >= 0
                    lines[name].append(json.dumps(record) + "\n")
    for name, content in lines.items():
        (SAMPLE / f"{name}.jsonl").write_text("".join(content), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
