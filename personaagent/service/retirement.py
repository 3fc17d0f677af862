"""Retirement: items let go of interactions that have expired, and go with their last one.

What an update contradicts stays, with what speaks against it; only an item without evidence goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaagent.data.items import without

if TYPE_CHECKING:
    from personaagent.data import Task
    from personaagent.memory import UserMemory


def retire(memory: UserMemory, task: Task) -> int:
    """Publish the champion without what rests on expired interactions alone; how many items went.

    Nothing is published where none of its evidence has expired. Evidence that is not stored here
    counts as before.

    Raises:
        ConflictError: somebody published in between.
    """
    champion = memory.persona(task.name)
    if champion is None or not champion.items:
        return 0
    cited = {id for one in champion.items for id in (*one.support, *one.oppose)}
    now, known = memory.now(), memory.get(sorted(cited))
    expired = {one.id for one in known if one.expires and one.expires <= now}
    times = {one.id: one.time for one in known if one.time}
    left = without(champion.items, expired, times)
    if left == champion.items:
        return 0
    gone = len(champion.items) - len(left)
    memory.publish(
        champion.succeed(items=left),
        expected=champion.hash,
        reason=f"interactions that expired: {len(expired)}; items that went with them: {gone}",
        made_of=(),  # beside what the champion was made of
    )
    return gone
