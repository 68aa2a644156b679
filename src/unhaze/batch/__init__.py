"""Many photos and videos: a plan says which becomes which, and threads, processes or Ray do it."""

from unhaze.batch.jobs import Job, Outcome, Plan, Settings, Work
from unhaze.batch.places import MARK, is_video, read_list
from unhaze.batch.plan import plan_files
from unhaze.batch.run import BatchStats, ExecutorConfig, restore_files, restore_folder
from unhaze.batch.worker import Progress, restore_file
from unhaze.errors import TargetExists

__all__ = [
    "MARK",
    "BatchStats",
    "ExecutorConfig",
    "Job",
    "Outcome",
    "Plan",
    "Progress",
    "Settings",
    "TargetExists",
    "Work",
    "is_video",
    "plan_files",
    "read_list",
    "restore_file",
    "restore_files",
    "restore_folder",
]
