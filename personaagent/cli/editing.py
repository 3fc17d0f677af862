"""`edit`, `pin` and `unpin`: a person's word in a persona."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, Json, TaskName, User, as_text

if TYPE_CHECKING:
    from personaagent.data import Persona

Author = Annotated[
    str | None,
    typer.Option("--by", help="Who says so; by default the user.", show_default=False),
]
Numbers = Annotated[
    list[int] | None,
    typer.Option(
        "--directive",
        metavar="NUMBER",
        help="This directive, as 'show' numbers it; may be given several times.",
        show_default=False,
    ),
]


def edit(
    user: User,
    directive: Annotated[
        int | None,
        typer.Option("--directive", help="Write this directive anew, as 'show' numbers it.", min=1),
    ] = None,
    item: Annotated[
        int | None,
        typer.Option("--item", help="Write this item anew, as 'show' numbers it.", min=1),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="What the directive or item says from now on.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="The new profile; '' leaves none.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="TEXT",
            help="A new directive, for every query; may be given several times.",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        list[int] | None,
        typer.Option(
            "--drop",
            metavar="NUMBER",
            help="A directive that goes; may be given several times.",
            show_default=False,
        ),
    ] = None,
    add_item: Annotated[
        list[str] | None,
        typer.Option(
            "--add-item",
            metavar="TEXT",
            help="A new item; may be given several times.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="Of the new items: preference, need, aversion, habit, style or fact."
        ),
    ] = "fact",
    topic: Annotated[str, typer.Option("--topic", help="Of the new items.")] = "",
    drop_item: Annotated[
        list[int] | None,
        typer.Option(
            "--drop-item",
            metavar="NUMBER",
            help="An item that goes; may be given several times.",
            show_default=False,
        ),
    ] = None,
    no_pin: Annotated[
        bool, typer.Option("--no-pin", help="Let alignments change it again; not for items.")
    ] = False,
    by: Author = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Write into a user's persona; it is the next version, with its author.

    What is written is pinned: no alignment changes or drops it. An item that is dropped is not
    learned again from the messages that were read.

    [bold]Examples[/bold]

    personaagent edit --user amira --add "Answer in British English."
    personaagent edit --user amira --directive 1 --text "Bills are work, always."
    personaagent edit --user amira --profile "Amira runs a bakery." --no-pin
    personaagent edit --user amira --drop 2
    personaagent edit --user amira --item 3 --text "lives in Bergen"
    personaagent edit --user amira --add-item "eats no nuts" --kind need --topic food
    personaagent edit --user amira --drop-item 1
    """
    from personaagent.cli import session
    from personaagent.data import Item
    from personaagent.errors import DataError
    from personaagent.memory.tasks import task_of
    from personaagent.service import editing

    numbered = [number for number in (directive, item) if number is not None]
    if len(numbered) != (text is not None):
        raise DataError("--text TEXT and one --directive NUMBER or --item NUMBER go together")
    if text is None and profile is None and not (add or drop or add_item or drop_item):
        raise DataError(
            "nothing to edit: give --text with --directive or --item, --profile, --add, --drop, "
            "--add-item or --drop-item"
        )
    new = [Item(kind, as_text(one), as_text(topic)) for one in add_item or ()]
    with session.open_store(db) as store:
        found = task_of(store, user, task)
        before = store.of(user).persona(found.name)
        after = editing.edit(
            store,
            user,
            found,
            by or user,
            profile=None if profile is None else as_text(profile),
            texts={} if directive is None or text is None else {directive: as_text(text)},
            add=[as_text(one) for one in add or ()],
            drop=drop or (),
            items={} if item is None or text is None else {item: as_text(text)},
            add_items=new,
            drop_items=drop_item or (),
            pin=not no_pin,
            expected=before.hash if before else None,
        )
    _tell(before, after, as_json=as_json)


def pin(
    user: User,
    directive: Numbers = None,
    profile: Annotated[bool, typer.Option("--profile", help="The profile.")] = False,
    by: Author = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Keep parts of a persona as they are, whatever alignments find.

    [bold]Examples[/bold]

    personaagent pin --user amira --directive 1 --directive 2
    personaagent pin --user amira --profile
    """
    _set(user, directive, profile, by, task, db, pinned=True, as_json=as_json)


def unpin(
    user: User,
    directive: Numbers = None,
    profile: Annotated[bool, typer.Option("--profile", help="The profile.")] = False,
    by: Author = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Let alignments change parts of a persona again.

    [bold]Examples[/bold]

    personaagent unpin --user amira --directive 1
    """
    _set(user, directive, profile, by, task, db, pinned=False, as_json=as_json)


def _set(
    user: str,
    directives: list[int] | None,
    profile: bool,
    by: str | None,
    task: str | None,
    db: str | None,
    *,
    pinned: bool,
    as_json: bool,
) -> None:
    from personaagent.cli import session
    from personaagent.errors import DataError
    from personaagent.memory.tasks import task_of
    from personaagent.service import editing, publish

    if not directives and not profile:
        raise DataError("what? Give --directive NUMBER, or --profile")
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        before = publish.champion(store, user, kind)
        after = editing.set_pins(
            store,
            user,
            kind,
            by or user,
            directives=directives or (),
            profile=profile,
            pinned=pinned,
            expected=before.hash,
        )
    _tell(before, after, as_json=as_json)


def _tell(before: Persona | None, after: Persona, *, as_json: bool) -> None:
    from personaagent.cli import render

    changed = before != after
    if as_json:
        render.print_json(
            {"user": after.user, "task": after.task, "changed": changed}
            | {"version": after.version, "hash": after.hash, "persona": after.to_dict()}
        )
        return
    screen = render.screen(as_json=False)
    if not changed:
        screen.print(f"{render.name_of(after)} says so already: nothing changed")
        return
    screen.print(f"published {render.name_of(after)}")
    screen.print(render.persona_panel(after))
