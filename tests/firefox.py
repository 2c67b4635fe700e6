"""A headless Firefox, driven over a socket by its protocol Marionette: what is seen, clicked and dropped."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time

PROGRAM = shutil.which("firefox-esr") or shutil.which("firefox")
PATIENCE_S = 300
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element in the standard of WebDriver."""


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Firefox:
    """One window of a browser of its own, whose profile and home lie in ``folder``."""

    def __init__(self, folder):
        assert PROGRAM is not None, "firefox is not installed; apt-get install firefox-esr"
        port, home = _free_port(), folder / "home"
        home.mkdir()
        (folder / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
        self._process = subprocess.Popen(
            [PROGRAM, "--headless", "--marionette", "--no-remote", "--profile", folder],
            env={**os.environ, "HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket, self._buffer, self._number = self._connect(port), b"", 0
        self._next()
        self("WebDriver:NewSession")

    def _connect(self, port):
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            except OSError:
                assert self._process.poll() is None, "the browser has ended"
                assert time.monotonic() < end, "the browser is silent"
                time.sleep(0.2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self("Marionette:Quit")
        self._socket.close()
        self._process.wait(PATIENCE_S)

    def __call__(self, command, **given):
        """Give an order and return its result."""
        self._number += 1
        message = json.dumps([0, self._number, command, given]).encode()
        self._socket.sendall(b"%d:" % len(message) + message)
        _, _, error, result = self._next()
        assert error is None, (command, error)
        return result

    def _next(self):
        while b":" not in self._buffer:
            self._buffer += self._more()
        size, _, rest = self._buffer.partition(b":")
        while len(rest) < int(size):
            rest += self._more()
        self._buffer = rest[int(size) :]
        return json.loads(rest[: int(size)])

    def _more(self):
        more = self._socket.recv(1 << 20)
        assert more, "the browser has ended"
        return more

    def size(self, width, height):
        """Set the size of the page."""
        self("WebDriver:SetWindowRect", width=width, height=height)
        inner = self.ask("[innerWidth, innerHeight]")
        self("WebDriver:SetWindowRect", width=2 * width - inner[0], height=2 * height - inner[1])

    def open(self, url):
        """Open a page."""
        self("WebDriver:Navigate", url=str(url))

    def ask(self, expression):
        """Return the value of an expression, which sees what stands in the page and none of its variables."""
        return self("WebDriver:ExecuteScript", script=f"return {expression}", args=[])["value"]

    def wait(self, expression):
        """Return the value of an expression once it is true."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def click(self, selector):
        """Click on the first element that a selector finds, with the mouse."""
        found = self("WebDriver:FindElement", using="css selector", value=selector)["value"]
        self("WebDriver:ElementClick", id=found[ELEMENT])

    def point(self, x, y):
        """Move the mouse to a place in the window."""
        move = {"type": "pointerMove", "x": x, "y": y, "duration": 0}
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self("WebDriver:PerformActions", actions=[mouse])

    def picture(self, path):
        """Write a picture of what is seen."""
        path.write_bytes(base64.b64decode(self("WebDriver:TakeScreenshot", full=False)["value"]))
