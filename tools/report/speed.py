"""The tables of speed, from the records that the benchmarks write into results/."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.report.results import markdown

Record = dict[str, Any]
ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# The rows of README.md, by their beginnings.
SUMMARY = (
    "`unhaze run`, 1 MP jpg",
    "`unhaze run`, 12 MP jpg",
    "`unhaze run`, 100 MP jpg",
    "`unhaze batch --workers 2`",
    "video, 1920x1080",
)
# What was measured, the number, the number that it is held against, how many times better.
Line = tuple[str, str, str, str]


def read_records(results: Path) -> list[Record]:
    """Those of `benchmark-*.json` with a kind in `KINDS`, in its order, with `file`, their name.

    UnhazeError: broken JSON.
    """
    found = []
    for path in sorted(results.glob("benchmark-*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UnhazeError(f"'{path}' is not valid JSON: {error}") from error
        if record.get("benchmark") in KINDS:
            found.append(record | {"file": path.name})
    kinds = list(KINDS)
    return sorted(found, key=lambda record: kinds.index(record["benchmark"]))


def speed_table(records: Sequence[Record]) -> str:
    """Markdown: one row a measurement, linked to its file, with hardware and date."""
    rows = []
    for record in records:
        measured_on = f"{record['hardware']}, {record['date']}"
        link = f"[{record['benchmark']}](../results/{record['file']})"
        for line in KINDS[record["benchmark"]](record):
            rows.append([line[0], *line[1:], link, measured_on])
    return markdown(["what", "unhaze", "beside", "ratio", "record", "measured on"], rows)


def speed_summary(records: Sequence[Record]) -> str:
    """Markdown: of `speed_table` the rows of README.md, those that `SUMMARY` names."""
    lines = [line for record in records for line in KINDS[record["benchmark"]](record)]
    rows = [list(line[:3]) for name in SUMMARY for line in lines if line[0].startswith(name)]
    return markdown(["what", "unhaze", "beside"], rows)


def photo_lines(record: Record) -> Iterator[Line]:
    """Whole runs beside AECR-Net on the whole picture; the field; many files."""
    peers = {row["photo"]: row for row in record.get("peer", ())}
    for row in record["photos"]:
        peer = peers.get(row["photo"])
        beside, ratio = "-", "-"
        if peer and peer["measured"]:  # and not reckoned from a smaller picture
            beside = f"AECR-Net, eager PyTorch: {peer['seconds']:,.0f} s"
            ratio = times(peer["ratio"])
        ours = f"{row['seconds']:.2f} s, {row['peak_mb']:.0f} MB"
        yield f"`unhaze run`, {row['photo']}", ours, beside, ratio
    for row in record.get("marginal", ()):
        what = f"each megapixel more, from {row['from']} to {row['to']}"
        yield what, milliseconds(row["ms_per_mp"]), "-", "-"
    fastest = min(record["field"], key=lambda row: row["ns_per_pixel"])
    yield "field applied, 8 bits", f"{fastest['ns_per_pixel']:.1f} ns a pixel", "-", "-"


def field_lines(record: Record) -> Iterator[Line]:
    """The compiled field beside the same in NumPy, for those who have no compiler."""
    taken = {(row["what"], row["way"]): row["ms"] for row in record["rows"]}
    for (what, way), ours in taken.items():
        if way == "C":
            theirs = taken[what, "NumPy"]
            beside = f"NumPy: {milliseconds(theirs)}"
            yield f"field {what}", milliseconds(ours), beside, times(theirs / ours)


def batch_lines(record: Record) -> Iterator[Line]:
    """Files a second by the number of workers, beside one worker."""
    one = record["runs"][0]
    for row in record["runs"]:
        what = f"`unhaze batch --workers {row['workers']}`, {record['files']:,} small files"
        ours = f"{row['files_per_second']:.1f} files/s"
        beside, ratio = f"one worker: {one['files_per_second']:.1f} files/s", times(row["ratio"])
        yield (what, ours, "-", "-") if row is one else (what, ours, beside, ratio)


def video_lines(record: Record) -> Iterator[Line]:
    """Frames a second of a whole run, beside one that only decodes and encodes."""
    ours = f"{record['frames_per_second']:.1f} frames/s, {record['peak_mb']:.0f} MB"
    beside, ratio = "-", "-"
    if "codecs" in record:
        codecs = record["codecs"]["frames_per_second"]
        beside = f"decoded and encoded alone: {codecs:.1f} frames/s"
        ratio = times(record["frames_per_second"] / codecs)
    yield f"video, {record['size']}", ours, beside, ratio


def program_lines(record: Record) -> Iterator[Line]:
    """A photo and a video from file to file, beside each other program."""
    sizes = {
        "photo": f"{record['megapixels']:g} MP jpg",
        "video": f"{record['frames']} frames of {record['size']}",
    }
    own = {row["what"]: row["seconds"] for row in record["rows"] if row["program"] == "unhaze"}
    for row in record["rows"]:
        if row["program"] != "unhaze":
            ours, beside = own[row["what"]], f"{row['program']}: {row['seconds']:.2f} s"
            what = f"{row['what']} from file to file, {sizes[row['what']]}"
            yield what, f"{ours:.2f} s", beside, times(row["seconds"] / ours)


def killed_lines(record: Record) -> Iterator[Line]:
    """What a second run did again of a video whose first run was killed."""
    what = f"killed after {record['killed_at_frame']} frames of {record['size']}, run again"
    yield what, f"{record['done_again_s']:.1f} s of it anew", "-", "-"


def live_lines(record: Record) -> Iterator[Line]:
    """The whole delay of a live stream, beside one that is only copied."""
    rows = {(row["protocol"], row["way"]): row for row in record["rows"]}
    for (protocol, way), row in rows.items():
        if way == "unhaze":
            what = f"live over {protocol}, {record['size']} at {record['rate']} frames/s, delay"
            copied = milliseconds(rows[protocol, "copied"]["median_ms"])
            yield what, milliseconds(row["median_ms"]), f"copied: {copied}", "-"


def flicker_lines(record: Record) -> Iterator[Line]:
    """How much blocks of a still scene change over time, beside frames restored one by one."""
    ours, alone = (record["of_blocks"][name] for name in ("smoothed", "frame_by_frame"))
    what = f"flicker of blocks of a still clip, {record['size']}"
    yield what, f"{ours:.2f} levels", f"frame by frame: {alone:.2f} levels", times(alone / ours)


def serve_lines(record: Record) -> Iterator[Line]:
    """A photo of 12 megapixels through the web server, and many clients."""
    once = sorted(record["api"]["one_call_s"])
    yield "`unhaze serve`, 12 MP jpg in one call", f"{once[len(once) // 2]:.2f} s", "-", "-"
    load = record["load"]
    what = f"`unhaze serve`, {load['clients']} clients with {load['megapixels']:g} MP"
    yield what, f"{load['photos_per_second']:.1f} photos/s", "-", "-"


def evaluation_lines(record: Record) -> Iterator[Line]:
    """`unhaze eval` without a truth."""
    rows = {row["version"]: row for row in record["rows"]}
    now, before = rows["now"], rows.get("before")
    beside = f"before: {before['seconds']:.1f} s" if before else "-"
    ratio = times(before["seconds"] / now["seconds"]) if before else "-"
    what = f"`unhaze eval`, {now['pictures']} photos of {record['long_side']} pixels without truth"
    yield what, f"{now['seconds']:.1f} s", beside, ratio


def format_lines(record: Record) -> Iterator[Line]:
    """Whole runs on files of phones and cameras, and into each format."""
    for row in record["rows"]:
        options = f" {row['options']}" if row["options"] else ""
        ours = f"{row['seconds']:.2f} s, {row['peak_mb']:.0f} MB"
        yield f"`unhaze run`{options}, {row['file']}", ours, "-", "-"


def engine_lines(record: Record) -> Iterator[Line]:
    """Yields times of `unhaze run`'s engines beside eager PyTorch.

    PyTorch has torchvision's operator if that was measured.
    """
    rows = {(row["model"], row["size"], row["engine"]): row["ms"] for row in record["rows"]}
    for (model, size, engine), ours in rows.items():
        if engine not in ENGINES or ours is None:
            continue
        peers = {
            "eager PyTorch with torchvision's operator": rows.get((model, size, "torchvision")),
            "eager PyTorch": rows.get((model, size, "eager")),
        }
        name, theirs = next(((name, ms) for name, ms in peers.items() if ms), (None, None))
        beside = f"{name}: {milliseconds(theirs)}" if theirs else "-"
        ratio = times(theirs / ours) if theirs else "-"
        yield f"network {model}, {size}, in {ENGINES[engine]}", milliseconds(ours), beside, ratio


def deform_lines(record: Record) -> Iterator[Line]:
    """Ours, in PyTorch and in ONNX Runtime, beside torchvision's operator; in bf16, beside a plain
    convolution.
    """
    for row in record["rows"]:
        if row["way"] in ("ours", "onnxruntime"):
            beside, ratio = "-", "-"
            if row["ratio"]:
                beside = f"{row['ratio_to']}: {milliseconds(row['ms'] * row['ratio'])}"
                ratio = times(row["ratio"])
            what = f"{row['shape']}, {row['passes']}, {row['precision']}, {row['way']}"
            yield f"deformable convolution {what}", milliseconds(row["ms"]), beside, ratio


def train_lines(record: Record) -> Iterator[Line]:
    """The fastest way beside a plain loop; of AECR-Net, beside the first with the same losses."""
    rows = [row for row in record["rows"] if row["ms"]]
    for losses in dict.fromkeys(row["losses"] for row in rows if "losses" in row):
        first, *others = (row for row in rows if row["losses"] == losses)
        best = min(others, key=lambda row: row["ms"])
        ours, beside = (
            f"{row['crops_per_second']} crops/s ({row['way']})" for row in (best, first)
        )
        yield f"training, AECR-Net at full size, {losses}", ours, beside, times(best["ratio"])
    if "losses" in rows[0]:
        return
    best = min(rows, key=lambda row: row["ms"])
    plain = next((row for row in rows if row["way"] == "eager float32"), None)
    ours = f"{best['steps_per_second']:.2f} steps/s ({best['way']}, {best['device']})"
    beside = f"eager float32: {plain['steps_per_second']:.2f} steps/s" if plain else "-"
    ratio = times(best["ratio"]) if plain else "-"
    yield f"training, {record['recipe']}", ours, beside, ratio


def metric_lines(record: Record) -> Iterator[Line]:
    """Megapixels a second."""
    for row in record["rows"]:
        beside, ratio = "-", "-"
        if row.get("skimage_ms"):
            theirs = record["megapixels"] / row["skimage_ms"] * 1e3
            beside, ratio = f"scikit-image: {theirs:.1f} MP/s", times(row["ratio"])
        yield f"metric {row['metric']}", f"{row['mp_per_second']:.1f} MP/s", beside, ratio


def startup_lines(record: Record) -> Iterator[Line]:
    """Commands beside the import of PyTorch."""
    rows = {row["command"]: row for row in record["rows"]}
    torch = rows["python -c 'import torch'"]
    for command, row in rows.items():
        if command.startswith("unhaze"):
            beside = f"`import torch`: {milliseconds(torch['ms'])}"
            yield f"`{command}`", milliseconds(row["ms"]), beside, times(row["ratio"])


def site_lines(record: Record) -> Iterator[Line]:
    """A photo of 12 megapixels in the page without a server, beside what is allowed at most."""
    bounds = record["bounds"]
    for row in record["rows"]:
        page = f"page in Chromium, {row['model']}, 12 MP"
        most = f"at most {bounds['shown_s'][row['model']]} s, {bounds['peak_mb']} MB"
        yield f"{page}, drop to shown", f"{row['shown_s']:.1f} s, {row['peak_mb']} MB", most, "-"
        yield f"{page}, press to saved", f"{row['saved_s']:.1f} s", "-", "-"
        for what, key in (("strength", "slide_ms"), ("a control", "control_ms")):
            least = f"at most {bounds[key]} ms"
            yield f"{page}, move of {what} to repaint", milliseconds(row[key]), least, "-"


def times(ratio: float) -> str:
    """ "48 x"."""
    return f"{ratio:.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def milliseconds(value: float) -> str:
    """ "34 ms", "1.2 s"."""
    return f"{value / 1e3:.1f} s" if value >= 1e3 else f"{value:.3g} ms"


KINDS: dict[str, Callable[[Record], Iterator[Line]]] = {
    "photo": photo_lines,
    "formats": format_lines,
    "field": field_lines,
    "batch": batch_lines,
    "video speed": video_lines,
    "video flicker": flicker_lines,
    "video live": live_lines,
    "programs": program_lines,
    "killed": killed_lines,
    "serve": serve_lines,
    "engines": engine_lines,
    "deform": deform_lines,
    "train": train_lines,
    "metrics": metric_lines,
    "evaluation": evaluation_lines,
    "startup": startup_lines,
    "site": site_lines,
}
