"""The order of the work: Prefect flows, one a stage, and the command line."""

import atexit
import gc
import logging
import os
from pathlib import Path

from tasks.cpu import pin

pin()  # before anything of this package can import numpy

# Prefect reads these when it is imported, so they are set before any module of this package can import it. Its files
# stay inside the project, its server on this machine, and its log lines on its server: a stage says itself what it did.
os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
logging.raiseExceptions = False  # a log line that the server did not take is no line of a stage

# Importing makes a million objects that stay. Looking them through for garbage again and again takes a quarter of a
# stage's start, and once more at its end up to a second, where all of it goes anyway.
gc.set_threshold(50_000)
atexit.register(gc.freeze)
