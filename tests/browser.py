"""A headless Chromium, driven over a pipe by the protocol of its developer tools."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 60


def need_browser():
    """Skip a test where there is no browser, saying how to get one."""
    if PROGRAM is None:
        pytest.skip("chromium is not installed; apt-get install chromium")


class Browser:
    """One page of a browser of its own, whose profile lies in ``folder``."""

    def __init__(self, folder, width=1600, height=1000):
        read, answer = os.pipe()
        order, self._write = os.pipe()
        words = [
            *(PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"),
            # In a container root has no sandbox, and /dev/shm is small.
            *("--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank"),
        ]
        # The browser reads orders from its descriptor 3 and answers on 4.
        line = f'exec "$@" 3<&{order} 4>&{answer}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", *words], pass_fds=(order, answer), stderr=subprocess.DEVNULL
        )
        os.close(order)
        os.close(answer)
        self._read, self._buffer, self._number, self.said = read, b"", 0, []
        self._session = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Page", "Runtime", "Log", "DOM"):
            self(f"{name}.enable")
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self("Browser.close")
        self._process.wait(PATIENCE_S)
        os.close(self._read)
        os.close(self._write)

    def __call__(self, method, **given):
        """Give an order and return its result; errors of the page are kept in ``said``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            level = answer.get("params", {}).get("entry", {}).get("level")
            if answer.get("method") == "Runtime.exceptionThrown" or level == "error":
                self.said.append(json.dumps(answer["params"])[:500])

    def _next(self):
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], PATIENCE_S)[0], "the browser is silent"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser has ended"
            self._buffer += more
        first, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(first)

    def size(self, width, height, touch=False):
        """Set the size of the page."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        self("Emulation.setTouchEmulationEnabled", enabled=touch)

    def open(self, url):
        """Open a page; its scripts go on after this."""
        self("Page.navigate", url=str(url))

    def ask(self, expression):
        """Return the value of an expression of the page, which may be a promise."""
        found = self("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression):
        """Return the value of an expression once it is true."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"never true: {expression}; the page said {self.said}"
            time.sleep(0.02)
        return value

    def mouse(self, kind, x, y, **more):
        """Send an event of the mouse: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def touch(self, kind, *points):
        """Send an event of fingers at ``(x, y)``: touchStart, touchMove or touchEnd."""
        self("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def key(self, key):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")

    def upload(self, selector, path):
        """Give a file to a field of the page."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path):
        """Write a picture of what is seen."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))
