"""The order of the work: Prefect flows, one a stage, and the command line."""

import os
from pathlib import Path

# Prefect reads these when it is imported, so they are set before any module of this package can import it. Its files
# stay inside the project, its server on this machine, and its log lines on its server: a stage says itself what it did.
os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
