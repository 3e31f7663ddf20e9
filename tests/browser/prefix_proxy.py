"""A proxy that serves a page server below a prefix and strips it, as notebooks and ingresses do."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CHUNK = 4096
OF_THE_HOP = {"connection", "transfer-encoding", "keep-alive"}


@contextmanager
def below(prefix: str, address: str) -> Iterator[str]:
    """The address at which ``address`` is reachable below ``prefix``, such as ``/some/where``."""
    target = urlsplit(address).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == prefix:
                self.send_response(308)
                self.send_header("Location", f"{prefix}/")
                self.end_headers()
            elif self.path.startswith(f"{prefix}/"):
                self._pass_on(self.path.removeprefix(prefix))
            else:
                self.send_error(404, "not below the prefix")

        do_POST = do_GET

        def _pass_on(self, path: str) -> None:
            upstream = http.client.HTTPConnection(target, timeout=60)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream.request(self.command, path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in OF_THE_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while chunk := answer.read1(CHUNK):
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except OSError:
                pass  # the browser closed its stream
            finally:
                upstream.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}{prefix}/"
    finally:
        proxy.shutdown()
        proxy.server_close()
