"""The exchangeable parts of memory and alignment by name, each kind in one registry.

The command line, settings, the tuner and error messages read them. One of your own is a class, and
its entry: `SAMPLERS.add("mine", Mine)` in a program, or an entry point of the group
`personaagent.samplers` in a package, which the command line then knows, too. A part is made without
arguments, unless it says with which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from personaagent.registry import Registry

RETRIEVERS: Registry[Callable[[], Any]] = Registry(
    "retrievers",
    {
        "dense": "personaagent.memory.retrieval:Dense",
        "bm25": "personaagent.memory.retrieval:BM25",
        "recency": "personaagent.memory.retrieval:Recency",
        "hybrid": "personaagent.memory.retrieval:Hybrid",
    },
)
"""How memories are chosen for a query."""

INDEXES: Registry[Callable[[int], Any]] = Registry(
    "indexes", {"faiss": "personaagent.memory.vectors:FaissIndex"}
)
"""Where a user's vectors are searched; made with the number of dimensions."""

SAMPLERS: Registry[Callable[[], Any]] = Registry(
    "samplers",
    {
        "hard": "personaagent.optimizers.sampling:HardBatch",
        "latest": "personaagent.optimizers.sampling:LatestBatch",
    },
)
"""Which interactions a step of an alignment learns from."""

UPDATES: Registry[Callable[[], Any]] = Registry(
    "updates",
    {
        "edits": "personaagent.optimizers.update:ItemisedEdits",
        "rewrite": "personaagent.optimizers.update:FullRewrite",
        "paper": "personaagent.optimizers.paper:PaperRewrite",
    },
)
"""How candidates are made of a batch and its gradients (LLM_update)."""

ACCEPTANCES: Registry[Callable[[], Any]] = Registry(
    "acceptances",
    {
        "replay": "personaagent.optimizers.selection:AcceptOnReplay",
        "evidence": "personaagent.optimizers.evidence:AcceptOnEvidence",
        "always": "personaagent.optimizers.selection:AlwaysAccept",
    },
)
"""Whether a candidate takes the champion's place."""

AUTO = "auto"
"""The name for what suits the task and the LM."""
