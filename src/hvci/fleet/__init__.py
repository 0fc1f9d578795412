"""Many drivers of many machines: evaluated by several processes, kept in a database, asked later.

Needs the extra `hvci[fleet]`; nothing of it is imported before a command of the fleet is used.
"""
