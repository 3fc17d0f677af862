"""`/page`: what is held about people, for people: to see, correct, approve and forget.

Server-rendered (Jinja2), every text escaped, readable without JavaScript; htmx only spares reloads.
"""

from personaagent.server.page.views import router

__all__ = ["router"]
