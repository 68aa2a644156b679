"""Many photos and videos: which becomes which, and a pool; a broken one stops nothing."""

from unhaze.batch.plan import MARK, FileJob, is_video, plan_files, read_list
from unhaze.batch.pool import restore_files
from unhaze.batch.work import (
    FileResult,
    Progress,
    Settings,
    TargetExists,
    restore_file,
    restore_job,
)

__all__ = [
    "MARK",
    "FileJob",
    "FileResult",
    "Progress",
    "Settings",
    "TargetExists",
    "is_video",
    "plan_files",
    "read_list",
    "restore_file",
    "restore_files",
    "restore_job",
]
