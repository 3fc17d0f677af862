"""The programs, requests and settings of the pages about applications, agents and feedback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import anyio
import pytest
from documents import DOCS, blocks, commands
from mcp import Client, StdioServerParameters
from rulebook import RuleBook, stand_in
from serving import listening
from standins import HashEmbedder
from upstreams import Provider, providing

from personaagent.data import Classification
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.queue import Queue
from personaagent.memory.tasks import save_tasks
from personaagent.server import create_app

INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))
HERE = "localhost:8000"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with Store(tmp_path / "memory.db") as store:
        save_tasks(store, [INBOX])
        yield store


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


def test_the_requests_and_the_program_of_an_application_run(
    store: Store, provider: Provider, capsys: pytest.CaptureFixture[str]
):
    page = DOCS / "behind-an-application.md"
    lm = connect("stand-in", api_base=provider.address)
    with listening(create_app(EpisodicMemory(store, HashEmbedder()), lm)) as address:
        there = address.removeprefix("http://")
        (program,) = blocks(page, "python")
        exec(program.replace(HERE, there), {})
        assert capsys.readouterr().out == "Take the train.\n"
        (requests,) = blocks(page, "bash")
        lines = requests.replace(HERE, there).replace("curl ", "curl -sS --fail ")
        done = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "data: [DONE]" in done.stdout
        assert '"stand-in"' in done.stdout
    assert [one.response for one in store.of("amira").interactions()] == ["How do I get to Bern?"]


def test_the_programs_of_the_feedback_loop_run(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("personaagent.server.alignments.EVERY", 0.01)
    book = RuleBook(INBOX, {"car": "travel", "ferry": "travel"})

    def work() -> None:
        """A worker that finds nothing to change."""
        jobs = Queue(store)
        while (job := jobs.take("stand-in")) is None:
            time.sleep(0.01)
        with store.database.write() as connection:
            jobs.done(connection, job)

    worker = Thread(target=work, daemon=True)
    worker.start()
    with listening(create_app(EpisodicMemory(store, HashEmbedder()), stand_in(book))) as address:
        loop, adding = blocks(DOCS / "feedback.md", "python")
        exec(loop.replace(HERE, address.removeprefix("http://")), {})
        names = {"Client": __import__("personaagent").Client}
        exec(adding.replace(HERE, address.removeprefix("http://")), names)
    worker.join(10)
    assert not worker.is_alive()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "travel"
    assert said[-1].split()[0] == "kept"
    answered = {one.query: (one.response, one.source) for one in store.of("amira").interactions()}
    assert answered == {
        "The car needs new brakes.": ("money", "feedback"),
        "The ferry sails at nine.": ("travel", "user"),
    }


def test_an_agent_starts_the_server_as_its_settings_say(store: Store):
    (shown,) = blocks(DOCS / "mcp.md", "json")
    setting = json.loads(shown)["mcpServers"]["personaagent"]
    assert setting["command"] == "personaagent"
    process = Path(__file__).with_name("mcp_process.py")
    env = {
        "PYTHONPATH": os.pathsep.join(str(process.parents[up]) for up in (1, 2)),
        "PERSONAAGENT_DB": store.name,
    }
    started = StdioServerParameters(
        command=sys.executable, args=[str(process), *setting["args"]], env=env
    )

    async def tools() -> set[str]:
        async with Client(started, read_timeout_seconds=60) as client:
            return {one.name for one in (await client.list_tools()).tools}

    page = (DOCS / "mcp.md").read_text("utf-8")
    assert all(f"| `{name}` |" in page for name in anyio.run(tools))


def test_the_commands_of_the_page_about_agents_are_those_that_are_tested():
    """`mcp --port` and `keys add` are run by the tests of each; here only that they are these."""
    said = [shlex.split(one) for one in commands(DOCS / "mcp.md")]
    assert [one[:3] for one in said] == [
        ["compile", "--user", "amira"], ["mcp", "--user", "amira"], ["keys", "add", "--user"],
    ]  # fmt: skip
