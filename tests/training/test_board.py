"""TensorBoard's events on a full disk end in one line, whenever it is noticed."""

import errno
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from unhaze.errors import UnhazeError
from unhaze.training.board import board


@pytest.mark.parametrize("room", [0, 3, 20, 39])
def test_a_full_disk_is_one_error_and_no_traceback(room: int, tmp_path: Path, monkeypatch, capfd):
    """Of 40 records, those behind the first `room` find no room on the disk."""
    written, write = [], RecordWriter.write

    def write_or_fail(self: RecordWriter, data: bytes) -> None:
        if len(written) >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(data)
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", write_or_fail)
    message = f"cannot write events for TensorBoard in '{tmp_path}': No space left on device"
    with pytest.raises(UnhazeError, match=message), board(tmp_path, 0) as writer:
        for step in range(38):  # behind two of its own
            writer.add_scalar("train/l1", 0.5, step)
    assert capfd.readouterr().err == ""


def test_other_errors_pass(tmp_path: Path):
    with pytest.raises(FileNotFoundError), board(tmp_path, 0) as writer:
        writer.add_scalar("train/l1", 0.5, 0)
        (tmp_path / "absent").read_bytes()
