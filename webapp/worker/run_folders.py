"""The folders of training runs, of which an ended one leaves nothing."""

import shutil

from webapp.config import current_settings
from webapp.training.queries import ended_run_ids


def remove_ended() -> None:
    """Remove the folders of runs that are over."""
    folders = {
        int(folder.name): folder
        for folder in current_settings().runs_dir.glob("*")
        if folder.name.isdecimal()
    }
    for run_id in ended_run_ids([*folders]):
        shutil.rmtree(folders[run_id], ignore_errors=True)
