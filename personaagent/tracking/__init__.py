"""MLflow: runs of alignments and of experiments, traces of answers, personas as prompts, and the
agent as a model.

By default MLflow keeps everything in SQLite in the user's data folder, which
`mlflow ui --backend-store-uri sqlite:///<that folder>/mlflow.db` shows; MLFLOW_TRACKING_URI names
another database or a server. Nothing else is sent anywhere: MLflow's telemetry is off. MLflow is
imported by the first function that needs it.
"""

from personaagent.tracking.alignment import RUN, track
from personaagent.tracking.connection import TrackingWarning
from personaagent.tracking.model import log_agent, save_agent
from personaagent.tracking.prompts import CHALLENGER, CHAMPION, prompt_name, register
from personaagent.tracking.traces import traced

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "RUN",
    "TrackingWarning",
    "log_agent",
    "prompt_name",
    "register",
    "save_agent",
    "traced",
    "track",
]
