"""What holds for every test."""

import signal

# Started in the background of a shell that has no job control, this process would ignore SIGINT, and every program
# that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
