"""`keys`: who may call `serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from personaagent.cli.options import Database, Json, as_user
from personaagent.table import Table

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Who may call the server: make, list and revoke its keys.

    [bold]Examples[/bold]

    personaagent keys add --note "mail application"
    personaagent keys list
    """,
)


@app.command("add")
def add(
    tenant: Annotated[
        str,
        typer.Option(
            help="Whose users it reaches: small letters, digits, hyphens. Tenants see "
            "nothing of each other. By default the users of the command line."
        ),
    ] = "",
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="Only this user.", callback=as_user, show_default=False),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, write or admin; may be given several times. Else read, write."),
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for; shown in lists.")] = "",
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Make a key, and show it this once.

    From the first one on, a server of this database serves nobody without one.

    [bold]Examples[/bold]

    personaagent keys add --note "mail application"
    personaagent keys add --tenant acme --scope read --scope write --scope admin
    personaagent keys add --user amira --scope read --json
    """
    from personaagent.cli import render, session
    from personaagent.server.keys import Keys

    with session.open_store(db, create=True) as store:
        text, key = Keys(store).add(
            tenant=tenant, user=user, scopes=scope or ("read", "write"), note=note
        )
    if as_json:
        render.print_json({"key": text, "id": key.id})
        return
    typer.echo(text)
    typer.echo("it is not shown again: keep it where secrets are kept", err=True)


@app.command("list")
def list_keys(db: Database = None, as_json: Json = False) -> None:
    """List the keys, without their secret part.

    [bold]Examples[/bold]

    personaagent keys list
    personaagent keys list --json
    """
    from personaagent.cli import render, session
    from personaagent.server.keys import Keys

    with session.open_store(db) as store:
        found = Keys(store).all()
    if as_json:
        render.print_json(
            {
                "keys": [
                    {
                        "id": one.id,
                        "tenant": one.tenant,
                        "user": one.user,
                        "scopes": sorted(one.scopes),
                        "note": one.note,
                        "created": render.instant(one.created),
                        "used": render.instant(one.used),
                        "revoked": render.instant(one.revoked),
                    }
                    for one in found
                ]
            }
        )
        return
    screen = render.screen(as_json=False)
    if not found:
        screen.print("there are no keys")
        return
    rows = [
        [
            one.id,
            one.tenant or "-",
            one.user or "all",
            ", ".join(sorted(one.scopes)),
            render.day(one.used),
            render.day(one.revoked),
            render.short(one.note, 40),
        ]
        for one in found
    ]
    columns = ["id", "tenant", "user", "scopes", "last used", "revoked", "note"]
    screen.print(Table(columns=columns, rows=rows).rich())


@app.command("revoke")
def revoke(
    id: Annotated[str, typer.Argument(help="As 'keys list' shows it.", show_default=False)],
    db: Database = None,
) -> None:
    """Make a key useless, from the next request on.

    [bold]Examples[/bold]

    personaagent keys revoke 5f2a90c1d7e4
    """
    from personaagent.cli import session
    from personaagent.server.keys import Keys

    with session.open_store(db) as store:
        key = Keys(store).revoke(id)
    typer.echo(f"revoked: {key.id}")
