"""The pages, and the forms on them; a form changes something and leads back to a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from personaagent.data import Item, Task
from personaagent.data.items import KINDS
from personaagent.memory import quarantine, waiting
from personaagent.memory.queue import Queue
from personaagent.memory.tasks import tasks_of
from personaagent.privacy.forgetting import forget
from personaagent.server import auth
from personaagent.server.page import shown
from personaagent.server.page.rendering import PageRoute, back_to, render
from personaagent.server.page.session import (
    COOKIE,
    Form,
    Visitor,
    form_of,
    log_in,
    posting,
    sending,
    visitor,
)
from personaagent.server.problems import Problem
from personaagent.server.state import Service
from personaagent.service import editing, publish

router = APIRouter(prefix="/page", include_in_schema=False, route_class=PageRoute)

AT_ONCE = 50
"""Interactions on a page."""

LONGEST_TOPIC = 60

Who = Annotated[Visitor, Depends(visitor)]
Serving = Annotated[Service, Depends(auth.service_of)]
Sent = Annotated[tuple[Visitor, Form], Depends(posting)]

_STATIC = Path(__file__).with_name("static")
_FILES = {"htmx.min.js": "text/javascript", "page.css": "text/css"}


@router.get("/static/{name}")
def static(name: str) -> Response:
    """The style sheet and htmx."""
    if name not in _FILES:
        raise Problem(404, "there is no such file")
    headers = {"Cache-Control": "max-age=3600"}
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers=headers)


@router.get("/login")
def login(request: Request, service: Serving) -> Response:
    """Where a key is given."""
    if not service.keys.any:
        return RedirectResponse("/page", 303)
    return render(request, "login.html", None, wrong="")


@router.post("/login")
def logging_in(
    request: Request, service: Serving, form: Annotated[Form, Depends(form_of)]
) -> Response:
    """A key, once; from then on the cookie."""
    response = RedirectResponse("/page", 303)
    try:
        log_in(service, request, _one(form, "key"), response)
    except Problem as problem:
        return render(request, "login.html", None, status=problem.status, wrong=problem.detail)
    return response


@router.post("/logout")
def logging_out(sent: Annotated[tuple[Visitor, Form], Depends(sending)]) -> Response:
    """Forget the cookie."""
    del sent
    response = RedirectResponse("/page/login", 303)
    response.delete_cookie(COOKIE, path="/page", httponly=True, samesite="strict")
    return response


@router.get("")
def users(request: Request, service: Serving, who: Who) -> Response:
    """Everybody whom the visitor reaches."""
    caller, store = who.caller, service.store
    if caller.user is not None:
        return back_to("/page/persona", user=caller.user)
    waits = {user for user, _ in waiting.users_waiting(store)}
    known = {one.user: one for one in store.users()}
    mine = sorted(user for user in store.everyone() if caller.reaches(user))
    people = [
        {
            "user": caller.shown(user),
            "count": known[user].interactions if user in known else 0,
            "last": known[user].last if user in known else None,
            "tasks": tasks_of(store, user),
            "waits": user in waits,
        }
        for user in mine
    ]
    return render(request, "users.html", who, people=people)


@router.get("/persona")
def persona(
    request: Request, service: Serving, who: Who, user: str = "", task: str = ""
) -> Response:
    """A user's persona: every item and directive with its evidence, and since when it is there."""
    stored = _known(service, who, user)
    named, tasks = who.caller.shown(stored), tasks_of(service.store, stored)
    if not task and len(tasks) != 1:
        return render(request, "tasks.html", who, user=named, tasks=tasks)
    kind = service.task_of(stored, task or None)
    chain = service.store.of(stored).history(kind.name)
    now = chain[-1].persona if chain else None
    return render(
        request,
        "persona.html",
        who,
        user=named,
        task=kind.name,
        entry=chain[-1] if chain else None,
        persona=now,
        rules=shown.rules(service.store, chain, now, kind) if now else [],
        notes=shown.notes(service.store, chain, now) if now else {},
        kinds=KINDS,
        waits=bool(waiting.waiting_of(service.store.of(stored), kind.name)),
    )


@router.get("/history")
def history(
    request: Request, service: Serving, who: Who, user: str = "", task: str = ""
) -> Response:
    """The versions with what changed in each, and their quality on replay."""
    stored, kind = _task(service, who, user, task)
    chain = service.store.of(stored).history(kind.name)
    steps = shown.timeline(chain, shown.scores(service.store, stored, kind.name))
    return render(
        request,
        "history.html",
        who,
        user=who.caller.shown(stored),
        task=kind.name,
        steps=steps,
        picture=shown.picture(steps),
    )


@router.get("/memory")
def memory(
    request: Request,
    service: Serving,
    who: Who,
    user: str = "",
    q: str = "",
    before: str = "",
) -> Response:
    """What is remembered of a user, searched or the latest first, and what was put aside."""
    stored = _known(service, who, user)
    mine, more = service.store.of(stored), None
    if q.strip():
        found = [one.interaction for one in service.memory.recall(stored, q, AT_ONCE)]
    else:
        some = mine.interactions(before_id=before or None, limit=AT_ONCE + 1, include_expired=True)[
            ::-1
        ]
        found = some[:AT_ONCE]
        more = found[-1].id if len(some) > AT_ONCE else None
    return render(
        request,
        "memory.html",
        who,
        user=who.caller.shown(stored),
        q=q,
        found=found,
        more=more,
        count=mine.count(),
        aside=quarantine.quarantined(mine),
    )


@router.get("/waiting")
def waits(request: Request, service: Serving, who: Who) -> Response:
    """What waits for approval, beside what it would replace."""
    store, caller = service.store, who.caller
    mine = dict.fromkeys(user for user, _ in waiting.users_waiting(store) if caller.reaches(user))
    decisions = [
        shown.decision(store, one, caller.shown(user))
        for user in mine
        for one in waiting.waiting_of(store.of(user))
    ]
    return render(request, "waiting.html", who, decisions=decisions)


@router.get("/queue")
def queue(request: Request, service: Serving, who: Who) -> Response:
    """The alignments that are due or under way."""
    now, caller = service.store.now(), who.caller
    jobs = [
        {
            "user": caller.shown(one.user),
            "task": one.task,
            "state": one.state(now),
            "trigger": one.trigger,
            "due": one.due,
            "problem": one.problem,
        }
        for one in Queue(service.store).jobs()
        if caller.reaches(one.user)
    ]
    return render(request, "queue.html", who, jobs=jobs)


@router.post("/edit")
def edit(service: Serving, sent: Sent) -> Response:
    """A directive, an item or the profile written anew, a new one, or one that goes."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    number, text = _number(form), _one(form, "text")
    part = _one(form, "part")
    editing.edit(
        service.store,
        stored,
        kind,
        who.name,
        profile=text if part == "profile" else None,
        texts={number: text} if part == "directive" else {},
        add=[text] if part == "new" else [],
        drop=[number] if part == "drop" else [],
        items={number: text} if part == "item" else {},
        add_items=[Item(_one(form, "kind"), text, _one(form, "topic")[:LONGEST_TOPIC])]
        if part == "new-item"
        else [],
        drop_items=[number] if part == "drop-item" else [],
        expected=_one(form, "seen") or None,
    )
    return back_to("/page/persona", user=who.caller.shown(stored), task=kind.name)


@router.post("/pin")
def pin(service: Serving, sent: Sent) -> Response:
    """Keep a part as it is, or let it go."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    profile = _one(form, "part") == "profile"
    editing.set_pins(
        service.store,
        stored,
        kind,
        who.name,
        directives=[] if profile else [_number(form)],
        profile=profile,
        pinned=_one(form, "pinned") == "yes",
        expected=_one(form, "seen") or None,
    )
    return back_to("/page/persona", user=who.caller.shown(stored), task=kind.name)


@router.post("/rollback")
def rollback(service: Serving, sent: Sent) -> Response:
    """Return to an earlier version, as a new one."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    chain = publish.published(service.store, stored, kind)
    if chain[-1].hash != _one(form, "seen"):
        raise Problem(409, "the persona has changed since you saw it: look again, decide then")
    number = _number(form)
    wanted = publish.said(publish.version_of(chain, number))
    reason = f"rolled back to version {number} by {who.name}"
    publish.publish(service.store, wanted, publish.said(chain[-1]), reason)
    return back_to("/page/history", user=who.caller.shown(stored), task=kind.name)


@router.post("/align")
def align(service: Serving, sent: Sent) -> Response:
    """Queue an alignment."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    Queue(service.store).add(stored, kind.name, "request")
    return back_to("/page/queue")


@router.post("/forget")
def forgetting(service: Serving, sent: Sent) -> Response:
    """Erase interactions, and what was derived from them."""
    who, form = sent
    stored = _known(service, who, _one(form, "user"))
    forget(service.store, stored, ids=form.get("id", []))
    return back_to("/page/memory", user=who.caller.shown(stored))


@router.post("/release")
def release(service: Serving, sent: Sent) -> Response:
    """Let something that was put aside into memory."""
    who, form = sent
    stored = _known(service, who, _one(form, "user"))
    quarantine.release(service.store.of(stored), _one(form, "id"))
    return back_to("/page/memory", user=who.caller.shown(stored))


@router.post("/approve")
def approve(service: Serving, sent: Sent) -> Response:
    """Publish what waits."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    waiting.approve(service.store.of(stored), kind.name, who.name, hash=_one(form, "seen"))
    return back_to("/page/persona", user=who.caller.shown(stored), task=kind.name)


@router.post("/reject")
def reject(service: Serving, sent: Sent) -> Response:
    """Drop what waits, for good."""
    who, form = sent
    stored, kind = _task(service, who, _one(form, "user"), _one(form, "task"))
    waiting.reject(service.store.of(stored), kind.name, who.name, hash=_one(form, "seen"))
    return back_to("/page/waiting")


def _known(service: Service, who: Visitor, user: str) -> str:
    """The user of the store whom a visitor names; the same words for one that there is not and for
    one who is none of theirs."""
    stored = who.caller.stored(user or None)
    if stored not in service.store.everyone():
        raise Problem(404, "nothing is known of this user")
    return stored


def _task(service: Service, who: Visitor, user: str, task: str) -> tuple[str, Task]:
    stored = _known(service, who, user)
    return stored, service.task_of(stored, task or None)


def _one(form: Form, name: str) -> str:
    return (form.get(name) or [""])[0]


def _number(form: Form) -> int:
    text = _one(form, "number")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
