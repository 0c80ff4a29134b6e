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

# A proxy of the network cannot reach this machine's own server, and every client of HTTP would ask it. The name in
# small letters wins over the other, so both hold the same.
_given = os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",")
_direct = dict.fromkeys([*filter(None, map(str.strip, _given)), "127.0.0.1", "localhost"])
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in _direct else ",".join(_direct)

logging.raiseExceptions = False  # a log line that the server did not take is no line of a stage

# Importing makes a million objects that stay. Looking them through for garbage again and again takes a quarter of a
# stage's start, and once more at its end up to a second, where all of it goes anyway.
gc.set_threshold(50_000)
atexit.register(gc.freeze)
