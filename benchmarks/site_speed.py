"""What the page without a server takes, keeps and asks for, in Chromium, with the bounds.

`make site`, then `python -m benchmarks.site_speed`, which needs Playwright, Chromium and axe-core
(`npm ci` in site/). WebGL and WebAssembly run on the processor here, as they would not on most
people's machines.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyvips
from playwright.sync_api import Page, sync_playwright

from benchmarks.measure import ROOT, table, write_record

DIST = ROOT / "site" / "dist"
SIZE = 4000  # pixels, the long side: 4000 x 3000 as of a camera
MOVES = 60  # of the slider
QUEUED = 10  # photos
AXE = ROOT / "site" / "node_modules" / "axe-core" / "axe.min.js"
EXIF = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x05\0\0\0\x1a\0\0\0\0\0\0\0Acme\0\0"
MODELS = ("photo-fast", "photo")
BOUNDS = {
    "shown_s": {"photo-fast": 8, "photo": 15},
    "slide_ms": 50,
    "control_ms": 50,
    "peak_mb": 1200,
    "first_load_bytes": 1_000_000,
}

# Milliseconds from a change of the slider until the GPU has drawn it.
SLIDE = """async ([id, value]) => {
    const slider = document.getElementById(id);
    const gl = document.querySelector('#picture').getContext('webgl2');
    const started = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise(requestAnimationFrame);
    await new Promise(setTimeout);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - started;
}"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-site.json")
    given = parser.parse_args()
    numbers: dict[str, Any] = {"load_before": os.getloadavg()[0], "bounds": BOUNDS}
    handler = functools.partial(Quiet, directory=str(DIST))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        numbers["rows"] = [measure(url, model) for model in MODELS]
        print(table(numbers["rows"]))
        numbers["page"] = use(url)
        print(json.dumps(numbers["page"], indent=1))
        server.shutdown()
    write_record(given.result, "site", numbers)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain file server."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".wasm": "application/wasm",
        ".mjs": "text/javascript",
    }

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def opened(url: str, model: str) -> Iterator[tuple[Page, list[str]]]:
    """A fresh page whose files are at hand for offline use; the addresses that it asks for."""
    asked: list[str] = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        context.add_init_script(f"localStorage['unhaze.model'] = '{model}'")
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.set_default_timeout(120_000)  # other work may take the processor
        page.goto(url)
        page.wait_for_selector("#start")
        page.wait_for_timeout(3000)  # the first visit loads it twice
        wait_for_cache(page)
        page.reload()
        page.wait_for_selector("#start")
        yield page, asked
        browser.close()


def measure(url: str, model: str) -> dict[str, Any]:
    """Seconds and megabytes of one photo of 12 megapixels with EXIF and a wide-gamut profile."""
    with tempfile.TemporaryDirectory() as folder, opened(url, model) as (page, _):
        photo = twelve_megapixels(Path(folder) / "photo.jpg")
        before = resident(browser_pids())
        started = time.perf_counter()
        page.set_input_files("#files", photo)
        most = 0.0
        while page.get_attribute("#stage", "data-ready") != model:
            most = max(most, resident(browser_pids()))
            page.wait_for_timeout(50)
        shown = time.perf_counter() - started
        page.wait_for_timeout(500)
        slides = milliseconds_of_moves(page, "strength")
        page.click("#more-controls summary")
        page.wait_for_selector("#stage[data-exact='0,0,0']")  # what controls go by is there
        controls = milliseconds_of_moves(page, "lift-shadows")
        # The last of them, exactly: what is saved needs it, and the wait is not the saving's.
        page.wait_for_selector("#stage:not([data-exact=''])", timeout=120_000)
        started = time.perf_counter()
        with page.expect_download() as download:
            page.click("#download")
        saved = Path(download.value.path())
        seconds = time.perf_counter() - started
        most = max(most, resident(browser_pids()))
        threads = page.evaluate("crossOriginIsolated")
        kept = kept_of(photo, saved)
    return {
        "model": model,
        "shown_s": round(shown, 2),
        "saved_s": round(seconds, 2),
        "slide_ms": round(statistics.median(slides), 1),
        "slide_ms_95": round(slides[int(0.95 * MOVES)], 1),
        "control_ms": round(statistics.median(controls), 1),
        "control_ms_95": round(controls[int(0.95 * MOVES)], 1),
        "peak_mb": round(most),
        "before_mb": round(before),
        "threads": threads,
    } | kept


def milliseconds_of_moves(page: Page, slider: str) -> list[float]:
    """From the move of a slider to its picture, in order of size."""
    return sorted(page.evaluate(SLIDE, [slider, 100 - n]) for n in range(MOVES))


def kept_of(photo: Path, saved: Path) -> dict[str, bool]:
    """What the restored file has of the photo's size, EXIF and profile."""
    one, other = (pyvips.Image.new_from_file(str(each)) for each in (photo, saved))
    return {
        "size_kept": (one.width, one.height) == (other.width, other.height),
        "exif_kept": b"Acme" in other.get("exif-data"),
        "icc_kept": one.get("icc-profile-data") == other.get("icc-profile-data"),
    }


def use(url: str) -> dict[str, Any]:
    """What ten photos, a reload, no network, axe and the list of requests say."""
    photo = (ROOT / "samples" / "valley.jpg").read_bytes()
    files = [{"name": f"{n}.jpg", "mimeType": "", "buffer": photo} for n in range(QUEUED)]
    with opened(url, "photo-fast") as (page, asked):
        sizes = page.evaluate(
            "performance.getEntriesByType('resource')"
            ".concat(performance.getEntriesByType('navigation'))"
            ".map(each => [each.name, each.decodedBodySize])"
        )
        later = ("/runtime/", "/models/", "/samples/", "/codecs/")
        first = sum(size for name, size in sizes if not any(each in name for each in later))
        page.context.set_offline(True)
        page.reload()
        started = time.perf_counter()
        page.set_input_files("#files", files)
        done = page.locator("#list li.done")
        while done.count() < QUEUED:
            page.wait_for_timeout(100)
        seconds = time.perf_counter() - started
        most = resident(browser_pids())
        page.reload()
        page.wait_for_selector("#stage[data-ready=photo-fast]")
        kept = page.locator("#list li:not(.more)").count()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        faults = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        others = [each for each in asked if not each.startswith((url, f"blob:{url}"))]
    return {
        "first_load_bytes": first,
        "ten_photos_offline_s": round(seconds, 1),
        "kept_by_reload": kept,
        "ten_photos_mb": round(most),
        "serious_faults_by_axe": [
            each["id"] for each in faults if each["impact"] in ("serious", "critical")
        ],
        "requests_to_other_origins": others,
    }


def twelve_megapixels(path: Path) -> Path:
    """The sample enlarged to a camera's size, 4:2:0, in Display P3, with EXIF."""
    image = pyvips.Image.new_from_file(str(ROOT / "samples" / "valley.jpg"))
    image = image.resize(SIZE / image.width, vscale=SIZE * 0.75 / image.height)
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "exif-data", EXIF)
    image = image.icc_transform("p3", embedded=True, input_profile="srgb")
    image.jpegsave(str(path), Q=92, subsample_mode="on")
    return path


def wait_for_cache(page: Page) -> None:
    """Until the service worker has all that works offline."""
    page.evaluate(
        "async () => { while (!(await caches.match('config.json')))"
        " await new Promise(wake => setTimeout(wake, 100)); }"
    )


def browser_pids() -> list[int]:
    """Of the renderers: the processes of tabs, with their workers."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"--type=renderer" in words:
                found.append(int(folder.name))
    return found


def resident(pids: list[int]) -> float:
    """Megabytes of the largest of these processes: others' browsers may run beside."""
    sizes = [0.0]
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        sizes += [int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS")]
    return max(sizes)


if __name__ == "__main__":
    main()
