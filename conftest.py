"""What all tests and doctests run under."""

import os
import signal

# One thread for the arithmetic, here and in every process that a test starts: nets this small are many times slower on
# several threads that wait for each other, most of all where two test workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts this in the background has it ignore Ctrl-C, and every process that a test starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
