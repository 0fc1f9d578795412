#!/bin/sh
# Question  A task ends its Dask worker. Which tasks does the cluster give up with KilledWorker?
# Guess     The one that ran when the worker died, after `allowed-failures` deaths: "a task is bad when workers keep dying at it".
# Version   distributed 2026.8.0 (PyPI), CPython 3.11.
# Behaviour Every task that was assigned to the worker counts a death, also one that only waited there with nothing run of it.
#           With one thread a worker holds two tasks, so a harmless neighbour is given up together with the bad one.
# Seen      {2: 'finished', 3: 'KilledWorker', 4: 'KilledWorker', 5: 'finished'} where only task 3 ends its worker.
# Hurts     A scan of many drivers would name drivers as deadly that were never looked at, and give them no answer. Whoever
#           is given up has to be tried once more, alone on the cluster, before it is blamed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install distributed==2026.8.0
cat > "$folder/blame.py" <<'PYTHON'
import os
import time

import dask
from distributed import Client, LocalCluster, wait

dask.config.set({"distributed.scheduler.allowed-failures": 0})


def work(number):
    time.sleep(0.3)
    if number == 3:
        os._exit(7)
    return number


if __name__ == "__main__":
    where = {"host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=1, **where) as cluster:
        with Client(cluster) as client:
            futures = client.map(work, range(8), pure=False)
            wait(futures, timeout=60)
            told = {
                number: type(one.exception()).__name__ if one.status == "error" else one.status
                for number, one in enumerate(futures)
            }
    print(told)
    assert told[3] == "KilledWorker"
    assert "KilledWorker" in (told[4], told[5]), "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" "$folder/blame.py" 2>/dev/null
