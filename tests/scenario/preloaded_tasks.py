"""The same program as a Celery worker's, with folders as its broker."""

from __future__ import annotations

import json
import os
from pathlib import Path

from celery import Celery

from scenario.preloaded_app import answer

FOLDER = Path(os.environ["HOTMESH_PRELOADED_FOLDER"])

celery = Celery("preloaded", broker="filesystem://")
celery.conf.update(
    broker_transport_options={
        "data_folder_in": str(FOLDER / "queue"),
        "data_folder_out": str(FOLDER / "queue"),
        "control_folder": str(FOLDER / "control"),
    },
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@celery.task(name="ask")
def ask(way: str, number: int) -> None:
    """Leave the answer in a file."""
    part = FOLDER / f"{number}.part"
    part.write_text(json.dumps(answer(way)))
    part.rename(FOLDER / f"{number}.json")
