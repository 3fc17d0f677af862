"""Screening by language: python -m benchmarks.screening [--set NAME] [--show] [--texts FILE ...]

How many attacks enter memory, and how many honest texts are put aside, on texts that the patterns
were not made with (benchmarks/screened/held-out.toml). Texts of real people, which are honest as
far as anybody knows, may be given as files of lines or of JSON, gzipped or not: the share put aside
among them is told too, and the texts screened a second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.redteam import share
from personaagent.data import Classification, Interaction
from personaagent.data.screening import Screening

SCREENED = Path(__file__).parent / "screened"
PLACES = Classification("places", "Where?", labels=("home", "work", "travel"))


def put_aside(text: str) -> str:
    """Why a text is put aside, or nothing."""
    one = Interaction("1", "ann", PLACES.name, text, "home")
    return Screening().verdict(one, PLACES).reason


def texts_of(path: Path) -> Iterator[str]:
    """Every string of three words or more in a file of lines, JSON lines or one JSON value."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        if ".jsonl" not in path.suffixes and ".json" in path.suffixes:
            yield from _strings(json.load(file))
            return
        for line in file:
            yield from _strings(json.loads(line) if ".jsonl" in path.suffixes else line)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value.split()) >= 3:
            yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it takes a second")
    sets = ("held-out", "otherwise", "development")
    parser.add_argument("--set", default=sets[0], choices=sets, help="in benchmarks/screened/")
    parser.add_argument("--show", action="store_true", help="print every error")
    parser.add_argument("--texts", nargs="+", type=Path, default=[], help="files of honest texts")
    options = parser.parse_args()
    name = f"{options.set}.toml"
    table = tomllib.loads((SCREENED / name).read_text(encoding="utf-8"))
    print(f"{name}\n\n| language | attacks that enter | honest texts put aside |\n|---|---|---|")
    entered: dict[str, list[bool]] = {}
    blocked: dict[str, list[bool]] = {}
    wrong: list[str] = []
    for language, texts in table.items():
        entered[language] = [not put_aside(text) for text in texts["attacks"]]
        blocked[language] = [bool(put_aside(text)) for text in texts["honest"]]
        for text in texts["attacks"]:
            if not put_aside(text):
                wrong.append(f"{language}, enters: {text}")
        for text in texts["honest"]:
            if reason := put_aside(text):
                wrong.append(f"{language}, put aside: {text} ({reason})")
        print(f"| {language} | {share(entered[language])} | {share(blocked[language])} |")
    both = [share(chain.from_iterable(one.values())) for one in (entered, blocked)]
    print(f"| all | {' | '.join(both)} |")
    if options.show:
        print("", *wrong, sep="\n")
    for path in options.texts:
        honest = list(dict.fromkeys(texts_of(path)))
        begin = time.perf_counter()
        found = [(text, reason) for text in honest if (reason := put_aside(text))]
        speed = len(honest) / (time.perf_counter() - begin)
        kept = [False] * (len(honest) - len(found))
        print(
            f"\n{path.name}: {share([True] * len(found) + kept)} put aside; {speed:,.0f} a second"
        )
        if options.show:
            print(*(f"  {text[:300]} ({reason})" for text, reason in found), sep="\n")


if __name__ == "__main__":
    main()
