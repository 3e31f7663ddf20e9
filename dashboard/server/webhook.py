"""Tells somebody outside of new alarms, also while nobody has the page open."""

import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from configs.errors import UserError

logger = logging.getLogger(__name__)

VARIABLE = "LACONIC_WEBHOOK_URL"
"""In the environment, since such an address is a secret."""

EVERY_S = 15.0
TIMEOUT_S = 5.0
TRIES = 3

Alarm = Mapping[str, Any]
Alarms = Callable[[], Mapping[str, list[dict[str, Any]]]]
"""Those that stand, by run."""


def open_webhook(alarms: Alarms) -> "Webhook | None":
    """None where nobody asked for one. Raises UserError for an address that is none."""
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{VARIABLE} must begin with http:// or https://")
    return Webhook(url, alarms)


class Webhook:
    """Posts each alarm once when it begins and once when it is over; tips stay on the page.

    What stood already when this process started counts as told, unless it is critical.
    """

    def __init__(self, url: str, alarms: Alarms) -> None:
        self._url = url
        self._alarms = alarms
        self._started_us = time.time_ns() // 1000
        self._told: dict[tuple[str, str], Alarm] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="webhook", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """Once: post what is new and what is over."""
        now = {
            (run, alarm["id"]): alarm
            for run, alarms in self._alarms().items()
            for alarm in alarms
            if alarm["level"] != "tip"
        }
        for key, alarm in now.items():
            if key not in self._told:
                is_old = alarm["since_us"] < self._started_us and alarm["level"] != "critical"
                if is_old or self._post(key, "begins", alarm):
                    self._told[key] = alarm
        for key in [key for key in self._told if key not in now]:
            if self._post(key, "is over", self._told[key]):
                del self._told[key]

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self.look()
            except Exception:  # the page goes on, and so does the watch
                logger.exception("alarms could not be looked at")

    def _post(self, key: tuple[str, str], what: str, alarm: Alarm) -> bool:
        """Whether this is done with: told, or given up."""
        run, _ = key
        text = f"{run}: {alarm['level']} {what}: {alarm['title']} ({alarm['text']})"
        body = json.dumps({"text": text, "run": run, "what": what, "alarm": dict(alarm)}).encode()
        request = urllib.request.Request(
            self._url, data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return True
        except (OSError, ValueError) as error:
            tries = self._failures[(*key, what)] = self._failures.get((*key, what), 0) + 1
            if tries == 1:
                # Not the error's own words: they may hold the address.
                logger.warning(
                    "%s could not be told of an alarm: %s", VARIABLE, type(error).__name__
                )
            return tries >= TRIES
