"""How long the page without a server takes for 12 megapixels, and what memory, in Chromium.

`make site`, then `python -m benchmarks.site_speed`: one JSON document. WebGL and WebAssembly run on
the processor here, as they would not on most people's machines.
"""

import functools
import http.server
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyvips
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
DIST = ROOT / "site" / "dist"
SIZE = 4000  # pixels, the long side: 4000 x 3000 as of a camera
MOVES = 20  # of the slider

# Milliseconds from a change of the slider until the GPU has drawn it.
SLIDE = """async (value) => {
    const slider = document.querySelector('#strength');
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
    load = os.getloadavg()[0]
    handler = functools.partial(Quiet, directory=str(DIST))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        found = {model: measure(url, model) for model in ("photo-fast", "photo")}
        server.shutdown()
    print(json.dumps({"load of the machine before": load} | found, indent=1))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain file server."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".wasm": "application/wasm",
        ".mjs": "text/javascript",
    }

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def measure(url: str, model: str) -> dict[str, Any]:
    """Seconds and megabytes of one photo on a fresh page whose files are at hand."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = twelve_megapixels(Path(folder) / "photo.jpg")
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        context.add_init_script(f"localStorage['unhaze.model'] = '{model}'")
        page = context.new_page()
        page.goto(url)
        page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
        wait_for_cache(page)
        page.reload()
        page.wait_for_selector("#start")
        before = resident(browser_pids())
        started = time.perf_counter()
        page.set_input_files("#files", photo)
        most = 0.0
        while page.get_attribute("#stage", "data-ready") != model:
            most = max(most, resident(browser_pids()))
            page.wait_for_timeout(50)
        shown = time.perf_counter() - started
        slides = [page.evaluate(SLIDE, 100 - 3 * n) for n in range(MOVES)]
        started = time.perf_counter()
        with page.expect_download() as download:
            page.click("#download")
        download.value.path()
        saved = time.perf_counter() - started
        most = max(most, resident(browser_pids()))
        facts = page.inner_text("#facts")
        threads = page.evaluate("crossOriginIsolated")
        browser.close()
    return {
        "seconds from drop to shown": round(shown, 2),
        "seconds from press to saved": round(saved, 2),
        "ms of a slider move, median": round(statistics.median(slides), 1),
        "ms of a slider move, most": round(max(slides), 1),
        "MB of the tab at most": round(most),
        "MB of the tab before": round(before),
        "threads": threads,
        "page says": facts,
    }


def twelve_megapixels(path: Path) -> Path:
    """The sample enlarged to a camera's size, 4:2:0."""
    image = pyvips.Image.new_from_file(str(ROOT / "samples" / "valley.jpg"))
    image = image.resize(SIZE / image.width, vscale=SIZE * 0.75 / image.height)
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
