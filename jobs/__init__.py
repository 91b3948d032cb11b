"""The pipeline's five jobs: generate, bronze, features, materialize, verify.

Each is a package with a command line (``python -m jobs.<name>``). None of them knows of Airflow, Docker or
Kubernetes: they know a lake, a range of days and, for the last two, an online store.
"""

import os

# NumPy's AVX-512 sines and logarithms differ from all others in the last bit, and digests must not.
os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")
