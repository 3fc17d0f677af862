"""What must be in the environment before any test imports DSPy, torch or faiss."""

import os
import tempfile

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="personaagent-dspy-")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# What was learned of LMs in one run must not be known in the next.
os.environ["PERSONAAGENT_LMS"] = tempfile.mkdtemp(prefix="personaagent-lms-")
os.environ["HF_HUB_OFFLINE"] = "1"

# A shared machine is slow at times, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
