"""PersonaAlignment, the teleprompter that writes personas, and its exchangeable parts."""

from personaagent.optimizers.acceptance import AcceptOnReplay, AlwaysAccept, Trial
from personaagent.optimizers.alignment import PersonaAlignment
from personaagent.optimizers.evidence import BETS, AcceptOnEvidence, Bet, pooled
from personaagent.optimizers.ledger import Ledger
from personaagent.optimizers.log import AlignmentLog, Candidate, Gradient, Step
from personaagent.optimizers.pooling import Prior, Start, pool
from personaagent.optimizers.replay import Replay, Replayed
from personaagent.optimizers.sampling import HardBatch, LatestBatch
from personaagent.optimizers.stopping import Patience
from personaagent.optimizers.student import Student
from personaagent.optimizers.update import FullRewrite, ItemisedEdits
from personaagent.optimizers.watch import Watched, watch_champion

__all__ = [
    "BETS",
    "AcceptOnEvidence",
    "AcceptOnReplay",
    "AlignmentLog",
    "AlwaysAccept",
    "Bet",
    "Candidate",
    "FullRewrite",
    "Gradient",
    "HardBatch",
    "ItemisedEdits",
    "LatestBatch",
    "Ledger",
    "Patience",
    "PersonaAlignment",
    "Prior",
    "Replay",
    "Replayed",
    "Start",
    "Step",
    "Student",
    "Trial",
    "Watched",
    "pool",
    "pooled",
    "watch_champion",
]
