"""`serve`: the service over HTTP, and workers beside it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, LMChoice
from personaagent.errors import DataError, PersonaAgentError

if TYPE_CHECKING:
    from personaagent.memory.queue import Trigger

_LIMITS = "Limits"
_AGAIN = 2.0  # seconds before a worker that ended is started again


def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's take keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes beside it that align the personas that are due.")
    ] = 0,
    threshold: Annotated[
        int, typer.Option(min=1, help="New interactions that make an alignment due.")
    ] = 5,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="A web origin whose pages may call it (CORS); may be given several times.",
            show_default=False,
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    rate: Annotated[
        int,
        typer.Option(min=0, help="Requests a minute of a key; 0: any.", rich_help_panel=_LIMITS),
    ] = 1_200,
    max_body: Annotated[
        int, typer.Option(min=1_000, help="Bytes of a request.", rich_help_panel=_LIMITS)
    ] = 2_000_000,
    db: Database = None,
    *,
    choice: LMChoice,
) -> None:
    """Serve memory, answers and personas over HTTP; /docs describes every call.

    Without keys ('personaagent keys add' makes one) only this machine is
    served. Answers read the persona that is published and never wait for an
    alignment: those are done by --workers, or by 'personaagent worker'
    anywhere on the same database.

    [bold]Examples[/bold]

    personaagent serve
    personaagent serve --workers 1 --lm openai/gpt-4o-mini
    personaagent serve --host 0.0.0.0 --port 8080 --origin https://app.example.org
    """
    from personaagent import memory
    from personaagent.cli import session

    try:
        import uvicorn

        from personaagent.server import Settings, create_app
        from personaagent.server.auth import is_loopback
        from personaagent.server.keys import Keys
    except ModuleNotFoundError as error:
        raise PersonaAgentError(
            f"'{error.name}' is not installed: pip install 'personaagent[serve]'"
        ) from error

    _log()
    with session.open_store(db, create=True) as store:
        if not (is_loopback(host) or Keys(store).any):
            raise DataError(
                f"--host {host}: others than this machine could call, and there are no keys: make "
                "one with 'personaagent keys add'"
            )
        lm = session.connect(choice)
        settings = Settings(body=max_body, rate=rate, origins=tuple(origin or ()))
        app = create_app(memory.EpisodicMemory(store, memory.named_embedder()), lm, settings)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        listening = config.bind_socket()
        # Connections have it from here; without it the body of a response waits 40 ms for its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.listen(config.backlog)  # whoever reads the address may call at once
        where = f"[{host}]" if ":" in host else host
        typer.echo(f"serving http://{where}:{listening.getsockname()[1]}", err=True)
        gc.freeze()  # what is loaded stays: looking through it holds every answer up for 0.1 s
        with _beside(workers, db, choice, threshold):
            uvicorn.Server(config).run(sockets=[listening])


def _log() -> None:
    """One line a request on stderr; uvicorn says only what went wrong."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("personaagent.server").setLevel(logging.INFO)


@contextmanager
def _beside(count: int, db: str | None, choice: LMChoice, threshold: int) -> Iterator[None]:
    """Keep so many workers going inside the block; one that ends is started again."""
    if not count:
        yield
        return
    context = multiprocessing.get_context("spawn")
    over = threading.Event()

    def keep_going() -> None:
        while not over.is_set():
            one = context.Process(target=_work, args=(db, choice, threshold), daemon=True)
            one.start()
            while one.is_alive() and not over.wait(0.2):
                pass
            if one.is_alive():
                one.terminate()
                one.join()
            over.wait(_AGAIN)

    threads = [threading.Thread(target=keep_going) for _ in range(count)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


def _work(db: str | None, choice: LMChoice, threshold: int) -> None:
    """A worker in a process of its own; it gives its job back when it is stopped."""
    from personaagent.cli import session
    from personaagent.memory import named_embedder
    from personaagent.memory.queue import NewInteractions, Queue
    from personaagent.optimizers import HabitsChanged, Setting
    from personaagent.service.trainer import Quiet
    from personaagent.service.worker import Worker, give_way

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's; it tells its workers
    _stop_with_parent()
    give_way()
    triggers: list[Trigger] = [NewInteractions(threshold), HabitsChanged(named_embedder())]
    with session.open_store(db) as store:
        work = Worker(
            Queue(store),
            triggers,
            lambda: session.trainer_of(store, Setting(), session.connect(choice)),
            tracked=False,
        )
        try:
            for _ in work.work(lambda _: Quiet()):
                pass
        except KeyboardInterrupt:
            return


def _stop_with_parent() -> None:
    """Stop when the server is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
