"""Loaded by workers of a cluster in a test: one content ends the process that evaluates it."""

import os

import hvci.evaluate

MARK = b"ends every process"


def dask_setup(worker):
    """Called in a worker only: whoever imports this changes nothing."""
    plain = hvci.evaluate.evaluate

    def evaluate(data, *rest):
        if MARK in data:
            os._exit(7)
        return plain(data, *rest)

    hvci.evaluate.evaluate = evaluate
