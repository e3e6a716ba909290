"""Logs for a server."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastcnn import _messages
from fastcnn.callbacks.callback import Callback, Logs

_TIMEOUT = 10.0  # seconds: a server that hangs must not hold up training for ever


class RemoteMonitor(Callback):
    """Sends the logs of every epoch to a server, as an HTTP POST.

    A server that cannot be reached is a warning; training goes on.

    Args:
        root: the server, http:// or https://.
        path: what follows it.
        field: the form's field that holds the JSON text.
        headers: further headers.
        send_as_json: whether the JSON itself is sent instead of a form.

    Raises:
        ValueError: `root` is not such an address.

    Example:
        >>> monitor = RemoteMonitor(root="http://localhost:9000", send_as_json=True)

    See https://keras.io/api/callbacks/remote_monitor/
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(root, str) or not root.startswith(("http://", "https://")):
            _messages.fail("RemoteMonitor", "root", "an address that begins with http:// or https://", root)
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        import urllib.parse  # nobody else needs the network
        import urllib.request

        values: dict[str, Any] = {"epoch": epoch}
        for name, value in (logs or {}).items():
            values[name] = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
        text = json.dumps(values)
        if self.send_as_json:
            body, kind = text.encode(), "application/json"
        else:
            body, kind = urllib.parse.urlencode({self.field: text}).encode(), "application/x-www-form-urlencoded"
        request = urllib.request.Request(
            self.root + self.path, data=body, headers={"Content-Type": kind, **(self.headers or {})}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):
                pass
        except OSError as error:
            warnings.warn(
                f"RemoteMonitor: root: expected a server that answers, received {self.root!r} ({error})", stacklevel=2
            )
