"""Downloads from a server on this machine that breaks off, changes its files and sends pages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest
from loopback import answering
from typer.testing import CliRunner

from personaagent.cli.app import app
from personaagent.data import LAMP_TASKS
from personaagent.errors import DataError
from personaagent.experiments import lamp_download
from personaagent.experiments.lamp_download import OFFICIAL, fetch, lamp_urls

NEWS, MOVIES = LAMP_TASKS["lamp-2n"], LAMP_TASKS["lamp-2m"]
BODY = json.dumps([{"id": str(n), "text": "x" * 99} for n in range(3_000)]).encode()


@dataclass
class Site:
    """What the server has, and how it behaves: after `breaks` bytes an answer ends."""

    files: dict[str, bytes] = field(default_factory=dict)
    version: str | None = '"one"'
    breaks: list[int] = field(default_factory=list)
    status: int = 200
    kind: str = "application/json"
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


def handler(site):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            span = self.headers["Range"]
            site.asked.append((self.path, span))
            body = site.files.get(self.path)
            if body is None or site.status != 200:
                self.send_error(404 if body is None else site.status)
                return
            start, status = 0, 200
            if span and site.ranges and self.headers["If-Range"] == site.version:
                start, status = int(span.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.end_headers()
                    return
            self.send_response(status)
            self.send_header("Content-Type", site.kind)
            self.send_header("Content-Length", str(len(body) - start))
            if site.version:
                self.send_header("ETag", site.version)
            self.end_headers()
            limit = site.breaks.pop(0) if site.breaks else len(body)
            self.wfile.write(body[start : start + limit])

        def log_message(self, *_):
            pass

    return Handler


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(lamp_download, "PAUSES", (0.0, 0.0))
    made = Site({"/LaMP_2/dev/dev_questions.json": BODY})
    with answering(handler(made)) as address:
        made.url = address
        yield made


@pytest.fixture
def get(site, tmp_path):
    """Fetches the questions, and gives back their path."""

    def run(**options):
        path = tmp_path / "lamp" / "dev_questions.json"
        return fetch(f"{site.url}/LaMP_2/dev/dev_questions.json", path, **options), path

    return run


def alone(path):
    """Whether nothing stands beside the file."""
    return [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_comes_whole_and_is_not_fetched_twice(get, site):
    seen = []
    fresh, path = get(report=lambda done, total: seen.append((done, total)))
    assert fresh
    assert path.read_bytes() == BODY
    assert alone(path)
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert get() == (False, path)
    assert len(site.asked) == 1


def test_what_breaks_off_goes_on_where_it_was(get, site):
    site.breaks = [70_000, 100_000]
    _, path = get()
    assert path.read_bytes() == BODY
    assert [span for _, span in site.asked] == [None, "bytes=70000-", "bytes=170000-"]
    assert alone(path)


def test_what_keeps_breaking_off_is_kept_for_the_next_call(get, site):
    site.breaks = [50_000, 10, 10]
    with pytest.raises(DataError, match="goes on from there"):
        get()
    _, path = get()
    assert path.read_bytes() == BODY
    assert site.asked[-1][1] == "bytes=50020-"


def test_another_version_of_the_file_begins_anew(get, site):
    site.breaks = [50_000, 0, 0]
    with pytest.raises(DataError):
        get()
    changed = BODY.replace(b"x", b"y")
    site.files = dict.fromkeys(site.files, changed)
    site.version = '"two"'
    assert get()[1].read_bytes() == changed


@pytest.mark.parametrize("change", [{"version": None}, {"ranges": False}])
def test_a_server_that_cannot_resume_is_asked_for_everything(get, site, change):
    for name, value in change.items():
        setattr(site, name, value)
    site.breaks = [50_000]
    assert get()[1].read_bytes() == BODY


def test_a_whole_part_is_not_fetched_again(get, site, tmp_path):
    part = tmp_path / "lamp" / "dev_questions.json.part"
    part.parent.mkdir()
    part.write_bytes(BODY)
    part.with_name(f"{part.name}.version").write_text(site.version)
    assert get()[1].read_bytes() == BODY
    assert [span for _, span in site.asked] == [f"bytes={len(BODY)}-"]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(get, site, tmp_path):
    part = tmp_path / "lamp" / "dev_questions.json.part"
    part.parent.mkdir()
    part.write_bytes(BODY + b"more")
    part.with_name(f"{part.name}.version").write_text(site.version)
    assert get()[1].read_bytes() == BODY


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        ("text/html", b"<!doctype html><p>Welcome", "a web page"),
        ("application/json", b" <html>Welcome</html>", "a web page"),
        ("text/plain", b"Not here.", "no JSON"),
        ("application/json", BODY[:-1], "no JSON"),
        ("application/json", b"", "no JSON"),
    ],
)
def test_what_is_no_json_is_refused_and_not_kept(get, site, kind, body, problem, tmp_path):
    site.kind, site.files = kind, dict.fromkeys(site.files, body)
    with pytest.raises(DataError, match=problem):
        get()
    assert list((tmp_path / "lamp").iterdir()) == []


@pytest.mark.parametrize(("status", "attempts"), [(403, 1), (503, 1)])
def test_an_error_of_the_server_is_said(get, site, status, attempts):
    site.status = status
    with pytest.raises(DataError, match=f"the server answers {status}"):
        get()
    assert len(site.asked) == attempts


def test_a_server_that_is_away_is_said(tmp_path):
    with pytest.raises(DataError, match="check the network"):
        fetch("http://127.0.0.1:9/x.json", tmp_path / "x.json")


def test_the_official_addresses():
    assert lamp_urls(NEWS, "dev") == [
        f"{OFFICIAL}/LaMP_2/dev/dev_questions.json",
        f"{OFFICIAL}/LaMP_2/dev/dev_outputs.json",
    ]
    assert lamp_urls(MOVIES, "train", by_time=True)[1] == (
        f"{OFFICIAL}/time/LaMP_2/new/train/train_outputs.json"
    )
    assert lamp_urls(NEWS, "test") == [f"{OFFICIAL}/LaMP_2/test/test_questions.json"]
    assert all(lamp_urls(task, "dev") for task in LAMP_TASKS.values())


def test_the_command_fetches_questions_and_answers(site, tmp_path):
    site.files["/LaMP_2/dev/dev_outputs.json"] = b'{"task": "LaMP_2", "golds": []}'
    given = ["lamp", "download", "--task", "lamp-2n", "--from", site.url, "--out", str(tmp_path)]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0, said.output
    assert "dev_questions.json: 0.4 MB\n" in said.stdout
    assert (tmp_path / "lamp-2n" / "dev_outputs.json").is_file()
    again = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert [file.rpartition("/")[2] for file in again["files"]] == [
        "dev_questions.json",
        "dev_outputs.json",
    ]
    assert len(site.asked) == 2


def test_the_command_says_what_is_wrong(site, tmp_path):
    given = ["lamp", "download", "--task", "lamp-9", "--from", site.url, "--out", str(tmp_path)]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 1
    assert "'lamp-9' is no task of LaMP" in said.stderr
