"""Loaded by workers of a cluster in a test: one content ends the process that evaluates it."""

import os

import hvci.evaluate

MARK = b"ends every process"
_evaluate = hvci.evaluate.evaluate


def evaluate(data, *rest):
    """Evaluate, unless the bytes are poison."""
    if MARK in data:
        os._exit(7)
    return _evaluate(data, *rest)


hvci.evaluate.evaluate = evaluate
