"""Executes the instructions that the engine cannot; names the others."""

from __future__ import annotations

from hvci.verifier.cpu.substitute import Substitute, make_substitute

__all__ = ["Substitute", "make_substitute"]
