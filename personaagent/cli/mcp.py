"""`mcp`: a user's memory and persona for an agent that speaks MCP."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, LMChoice, TaskName, User
from personaagent.errors import PersonaAgentError

if TYPE_CHECKING:
    from personaagent.memory import EpisodicMemory


def mcp(
    user: User,
    task: TaskName = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve over HTTP instead, to this machine alone, at this port; 0 takes a free "
            "one.",
            show_default=False,
        ),
    ] = None,
    db: Database = None,
    *,
    choice: LMChoice,
) -> None:
    """Serve a user's memory and persona to an agent by MCP, the Model Context Protocol.

    The agent starts this command itself and speaks with it over standard input
    and output. Its tools are remember, recall, answer, persona, feedback and
    forget; only 'answer' asks the LM. 'serve' has the same at /mcp for every
    user, by key.

    [bold]Examples[/bold]

    personaagent mcp --user amira
    personaagent mcp --user amira --task inbox --lm openai/gpt-4o-mini
    personaagent mcp --user amira --port 8001
    """
    _require("mcp", "mcp")
    from personaagent import memory
    from personaagent.cli import session

    with session.open_store(db, create=True) as store:
        episodic = memory.EpisodicMemory(store, memory.named_embedder())
        if port is not None:
            _over_http(episodic, store.of(user).user, task, port, choice)
            return
        import anyio

        from personaagent.server.mcp import Who, mcp_server, speaking_for

        server = mcp_server(episodic, lambda: session.connect(choice), task=task)
        mine = store.of(user).user
        with speaking_for(Who(mine, mine)):
            anyio.run(server.run_stdio_async)


def _over_http(
    memory: EpisodicMemory, user: str, task: str | None, port: int, choice: LMChoice
) -> None:
    _require("fastapi", "serve")
    import socket

    import uvicorn
    from fastapi import FastAPI

    from personaagent.cli import session
    from personaagent.server.limits import BoundedBody
    from personaagent.server.mcp_http import PATH, mcp_router
    from personaagent.server.settings import Settings
    from personaagent.server.state import Service

    settings = Settings()
    service = Service(memory, session.connect(choice), settings)
    app = FastAPI(openapi_url=None)
    app.include_router(mcp_router(service, user=user, task=task))
    app.add_middleware(BoundedBody, most=settings.body, patience=settings.patience)
    with socket.create_server(("127.0.0.1", port)) as listening:
        typer.echo(f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}", err=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        server.run(sockets=[listening])


def _require(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise PersonaAgentError(f"not installed: pip install 'personaagent[{extra}]'")
