"""The page in headless Chromium: by click, by keyboard, narrow, dark, and without JavaScript.

Where PERSONAAGENT_SCREENSHOTS names a folder, the pictures of the documentation are written there.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from chromium import environment, installed
from page_world import INBOX
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

from personaagent.memory import EpisodicMemory
from personaagent.server import create_app
from personaagent.server.keys import Keys

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = installed()
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: 'make browser' fetches one from npm"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert BROWSER is not None
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(BROWSER),
            env=environment(BROWSER),
            args=["--no-sandbox", "--disable-gpu", "--no-zygote"],
        )
        yield browser
        browser.close()


@pytest.fixture
def address(store) -> Iterator[str]:
    """A server of the store on a free port."""
    app = create_app(EpisodicMemory(store, HashEmbedder()), stand_in(RuleBook(INBOX, {})))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/page"
    server.should_exit = True
    thread.join()


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end nothing must have been refused by its policy or have failed."""
    contexts, problems = [], []

    def visit(path: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on(
            "console",
            lambda said: problems.append(said.text) if "Content Security" in said.text else None,
        )
        page.goto(address + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


def taken(page: Any, name: str) -> None:
    """A picture, where pictures are wanted."""
    if folder := os.environ.get("PERSONAAGENT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_by_click_a_person_reads_edits_pins_and_forgets(visit, store):
    page = visit()
    taken(page, "page-users")
    page.get_by_role("link", name="amira").click()
    page.get_by_text("2 for, 1 against").click()
    sync_api.expect(page.get_by_text("the car again").first).to_be_visible()
    page.get_by_text("Edit directive 1").click()
    page.get_by_label("Directive", exact=True).fill("Cars are money, always.")
    page.get_by_role("button", name="Save and pin").last.click()
    page.get_by_role("button", name="Unpin directive 1").wait_for()
    assert store.of("amira").persona("inbox").directives[0].text == "Cars are money, always."
    page.get_by_text("0 for, 0 against").click()
    taken(page, "page-persona")
    page.get_by_role("link", name="History").click()
    page.get_by_role("heading", name="Version 1").wait_for()
    taken(page, "page-history")
    page.get_by_role("link", name="Memory").click()
    page.get_by_label("Forget amira-1").check()
    page.get_by_role("button", name="Forget what is ticked").click()
    page.get_by_text("5 interactions are remembered").wait_for()
    assert store.of("amira").get(["amira-1"]) == []


def test_what_waits_is_approved_by_click(visit, store, proposed):
    page = visit("/waiting", color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    taken(page, "page-waiting")
    page.get_by_role("button", name="Approve for amira").click()
    page.get_by_text("approved by this machine").first.wait_for()
    assert store.of("amira").persona("inbox") == proposed
    light = visit(color_scheme="light")
    assert dark != light.evaluate("getComputedStyle(document.body).backgroundColor")


def reach(page: Any, text: str) -> None:
    """Press Tab until what has the focus says this."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = "(document.activeElement.innerText || document.activeElement.name || '').trim()"
        if page.evaluate(focus) == text:
            return
    raise AssertionError(f"the keyboard does not lead to '{text}'")


def test_by_keyboard_alone_a_person_logs_in_and_adds_a_directive(visit, store):
    text, _ = Keys(store).add(scopes=("read", "write"), note="Bela")
    page = visit("/login")
    page.wait_for_function("document.activeElement.name === 'key'")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Users").wait_for()
    reach(page, "amira")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Directives").wait_for()
    reach(page, "Add a directive")
    page.keyboard.press("Enter")
    reach(page, "text")
    page.keyboard.type("Be brief.")
    reach(page, "Add and pin")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Unpin directive 2").wait_for()
    assert store.of("amira").persona("inbox").directives[1].author == "Bela"
    cookies = page.evaluate("document.cookie")
    assert cookies == ""


def test_without_javascript_everything_still_works(visit, store, proposed):
    page = visit("/persona?user=amira", java_script_enabled=False)
    page.get_by_text("Add a directive").click()
    page.get_by_label("New directive").fill("Be brief.")
    page.get_by_role("button", name="Add and pin").click()
    sync_api.expect(page.get_by_role("button", name="Unpin directive 2")).to_be_visible()
    page.get_by_role("link", name="Waiting", exact=True).click()
    sync_api.expect(page.get_by_text("can only be rejected")).to_be_visible()
    page.get_by_role("button", name="Reject for amira").click()
    sync_api.expect(page.get_by_text("Nothing waits.")).to_be_visible()


def test_a_narrow_screen_needs_no_sideways_scrolling(visit, proposed):
    narrow = {"viewport": {"width": 360, "height": 740}}
    for path in (
        "",
        "/persona?user=amira",
        "/history?user=amira&task=inbox",
        "/waiting",
        "/memory?user=amira",
        "/queue",
    ):
        page = visit(path, **narrow)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= 360, path
        if path == "/waiting":
            taken(page, "page-narrow")


def test_a_failed_form_is_told_on_the_page(visit, store):
    page = visit("/persona?user=amira")
    page.get_by_text("Edit directive 1").click()
    page.get_by_label("Directive", exact=True).fill(" ")
    page.get_by_role("button", name="Save and pin").last.click()
    page.get_by_role("alert").wait_for()
    assert "an empty text" in page.get_by_role("alert").inner_text()
