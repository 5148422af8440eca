"""A headless Chromium over its debugging pipe, with nothing but the standard library: pages are opened, asked and pictured."""

import base64
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("GPU stall due to ReadPixels",)  # the driver's remark on being pictured


def executable() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """`requests` and `complaints` (console warnings and errors, exceptions) gather what the opened page did."""

    def __init__(self, profile: Path):
        into, out = os.pipe(), os.pipe()
        self.file, self.read = into[1], out[0]
        flags = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader", "--disable-gpu",
                 "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        shell = f'exec "$0" "$@" 3<&{into[0]} 4>&{out[1]}'  # the pipe's ends are descriptors 3 and 4
        self.process = subprocess.Popen(["bash", "-c", shell, executable(), *flags], pass_fds=(into[0], out[1]),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(into[0]), os.close(out[1])
        self.buffer, self.number, self.session = b"", 0, None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.file)
        self.process.terminate()
        self.process.wait(20)
        os.close(self.read)

    def call(self, method: str, **parameters) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        os.write(
            self.file, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while (answer := self._next()).get("id") != self.number:
            self._hear(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self.buffer:
            assert select.select([self.read], [], [], 60)[0], "the browser does not answer"
            piece = os.read(self.read, 1 << 20)
            assert piece, "the browser has ended"
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def _hear(self, event: dict) -> None:
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("warning", "error"):
            self._complain(about["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("warning", "error", "assert"):
            self._complain(" ".join(str(a.get("value", a.get("description"))) for a in about["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self._complain(json.dumps(about["exceptionDetails"])[:500])

    def _complain(self, text: str) -> None:
        if not any(words in text for words in QUIET):
            self.complaints.append(text)

    def open(self, page: Path, *, hash: str = "", size: tuple[int, int] = (512, 512), scheme: str = "light") -> None:
        """Load the page anew and wait until it is there."""
        self.call("Page.navigate", url="about:blank")
        self.requests, self.complaints = [], []
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.resolve().as_uri() + hash)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, expression: str):
        how = {"awaitPromise": True, "returnByValue": True, "allowUnsafeEvalBlockedByCSP": False}
        found = self.call("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < end, f"still not: {expression}; the page said {self.complaints}"
            time.sleep(0.05)

    def picture(self, *, whole: bool = False) -> np.ndarray:
        """The window, or the whole page, as H W 3 bytes."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
