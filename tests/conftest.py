"""What holds for every test."""

import os
import signal

from hypothesis import settings

from tasks.cpu import pin

pin()  # as `flows` does, before a test imports numpy: what both compute is compared

# Started in the background of a shell that has no job control, this process would ignore SIGINT, and every program
# that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On CI, pytest shows the whole difference of two values; of two long byte strings that takes longer than all tests
# together. Without these names it goes by the command line there, as it does everywhere else.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)

# How long an example takes says how busy the machine is; a test that hangs has its own limit.
settings.register_profile("audiate", deadline=None)
settings.load_profile("audiate")
