#!/usr/bin/env bash
# The first parallel numba kernel of a process takes away what torch was told about threads.
#
# Guess beforehand: numba and torch each have a number of threads, numba.set_num_threads and
# torch.set_num_threads; calling a numba kernel does nothing to torch's.
#
# Seen with numba 0.68.1 and torch 2.13.0 (CPU, Linux) on a machine of two cores or more: numba's OpenMP layer finds the libgomp that
# torch has loaded, and on its first launch sets the number of threads of OpenMP to that of all processors. torch asks OpenMP, so
# that torch.get_num_threads(), 1 before, is the number of processors afterwards, in a process with OMP_NUM_THREADS=1 too: a run that
# was to have one thread computes with several, and its sums are rounded otherwise. Who mixes the two has to launch numba first and
# then say again what torch may use.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q --disable-pip-version-check numba==0.68.1
"$place/env/bin/pip" install -q --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 ||
  "$place/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0
cd "$place"
OMP_NUM_THREADS=1 env/bin/python - <<'PY'
import os

import torch # first, so that its libgomp is the one
from numba import njit, prange, threading_layer, config
import numpy as np

processors = len(os.sched_getaffinity(0))
if processors < 2: raise SystemExit("not seen: this takes a machine of two processors or more")
config.THREADING_LAYER = "omp"
config.NUMBA_NUM_THREADS = processors

@njit(parallel=True)
def doubled(x):
    for i in prange(len(x)): x[i] *= 2

torch.set_num_threads(1)
before = torch.get_num_threads()
doubled(np.ones(10))
after = torch.get_num_threads()
print(f"{processors} processors, layer {threading_layer()}: torch had {before} thread and has {after} after one numba kernel")
assert before == 1
if after == 1: raise SystemExit("a numba kernel leaves torch's number of threads as it is now")
PY
