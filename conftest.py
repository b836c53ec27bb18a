"""What all tests and doctests run under."""

import os

# One thread for the arithmetic, here and in every process that a test starts: nets this small are many times slower on
# several threads that wait for each other, most of all where two test workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
