"""Settings for all tests."""
import os

# Tests work on tiny tensors: more threads only wait for each other, above all where the machine is busy. Set before
# torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
