"""Workers of a waiting line that answer, die or hang; a process of its own imports them here."""

import json
import os
import time

from hvci.fleet.worker import Answer, attend
from hvci.web.parts import joined, packed


def work(connection, fields):
    attend(connection, _answered)


def _answered(task):
    name = json.loads(task.path)["name"]
    if name == "die":
        os._exit(9)
    return Answer(None, joined([packed({"name": name}, {"name": name})]), memory=1)


def hang(connection, fields):
    attend(connection, lambda task: time.sleep(600))
