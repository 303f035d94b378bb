"""Settings for all tests."""
import os
import tempfile

# Tests work on tiny tensors: more threads only wait for each other, above all where the machine is busy. Set before
# torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test downloads anything, and published weights that lie on this machine change no result: torch hub's cache is an
# empty folder, and what would be fetched is refused at once.
os.environ["TORCH_HOME"] = os.path.join(tempfile.gettempdir(), "timecyclegan-tests-without-weights")
os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = "http://127.0.0.1:9"
