"""An importer of your own: interactions from the export of another program."""

import json
from collections.abc import Iterator
from pathlib import Path

from personaagent.data import ImportSummary, Interaction
from personaagent.data.importers import IMPORTERS, Importer


def read_bookmarks(
    path: Path, *, user: str, task: str, account: ImportSummary
) -> Iterator[Interaction]:
    """`[{"url", "title", "folder"}]`: the folder is what the user chose for the title."""
    for number, one in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))):
        account.taken["bookmark"] += 1
        yield Interaction(f"bookmark-{number}", user, task, one["title"], one["folder"])


# As an entry point of the group `personaagent.importers`: `import FILE --from bookmarks`.
IMPORTERS.add("bookmarks", Importer(read_bookmarks, messages=False))
