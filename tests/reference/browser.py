"""What a browser makes of a video file: Chromium, without a window."""

import base64
import contextlib
import http.server
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# The file is in the page: a browser hands out the pixels of other addresses to nobody.
PAGE = """<!doctype html><script>
const video = document.createElement("video");
const answer = result => fetch("/", {method: "POST", body: JSON.stringify(result)});
video.muted = true;
video.onerror = () => answer({error: video.error.message});
video.onloadeddata = () => { video.currentTime = %(seconds)s; };
const show = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixel = ([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data);
  // On a busy machine the frame may come later than the event, and the canvas stays transparent.
  if (pixel([0, 0])[3] === 0) { setTimeout(show, 20); return; }
  answer({width: video.videoWidth, height: video.videoHeight, duration: video.duration,
          colors: %(points)s.map(point => pixel(point).slice(0, 3))});
};
video.onseeked = show;
video.src = "data:video/mp4;base64,%(data)s";
</script>"""


@dataclass
class Shown:
    """A video that plays.

    Attributes:
        width, height: in pixels.
        duration: in seconds.
        colors: RGB, 0..255, of the points that were asked for.
    """

    width: int
    height: int
    duration: float
    colors: list[list[int]]


class DoesNotPlay(Exception):
    """The browser's own words."""


def play(path, seconds, points=()):
    """Shows the frame at `seconds` and returns the colours of it at `points`, each (x, y).

    Skips the test where no Chromium is installed.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    values = {"seconds": seconds, "points": json.dumps([list(point) for point in points])}
    page = PAGE % {**values, "data": base64.b64encode(path.read_bytes()).decode()}
    with serving(page.encode()) as (address, answers):
        # On a busy machine a browser may die while it starts.
        answer = next(filter(None, (ask(program, address, answers) for _ in range(3))), None)
    assert answer is not None, f"{program} was started three times and gave no answer"
    if "error" in answer:
        raise DoesNotPlay(answer["error"])
    return Shown(**answer)


def ask(program, address, answers):
    """What the page at `address` posts; None if the browser ends or says nothing for a minute."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        browser = subprocess.Popen(
            [program, *options, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(60):
                with contextlib.suppress(queue.Empty):
                    return answers.get(timeout=1)
                if browser.poll() is not None:
                    return None
            return None
        finally:
            browser.terminate()
            browser.wait()


@contextlib.contextmanager
def serving(page):
    """An address that has the page, and the queue of what is posted to it."""
    answers = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self):
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", answers
        finally:
            server.shutdown()
