"""What of the model hub's protocol snapshots need, on this machine: private dataset repositories, commits and downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_secret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories by name, each with its files; whether they are private; and how often a history was squashed."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.public: set[str] = set()
        self.commits: list[str] = []
        self.squashed = 0
        self.address = ""


class Protocol(BaseHTTPRequestHandler):
    """Answers as the hub does; whoever does not bring the token is refused."""

    hub: Hub

    def do_GET(self) -> None:
        repo, _, name = self.path.removeprefix("/datasets/").partition("/resolve/main/")
        if self.path.startswith("/api/datasets/"):
            return self.tell(self.path.removeprefix("/api/datasets/").split("?")[0])
        content = self.hub.files.get(repo, {}).get(name)
        if content is None or not self.is_known():
            return self.send(b"", 404)
        return self.send(content)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if not self.is_known():
            return self.send(b'{"error": "Invalid username or password."}', 401)
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        repo = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.send(json.dumps({"files": files}).encode())
        if "/super-squash/" in self.path:
            self.hub.squashed += 1
            return self.send(b"{}")
        return self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def create(self, wanted: dict) -> None:
        repo = f"{wanted.get('organization', 'somebody')}/{wanted['name']}"
        is_new = repo not in self.hub.files
        if is_new:
            self.hub.files[repo] = {}
            if wanted.get("visibility") != "private":
                self.hub.public.add(repo)
        answer = {"url": f"{self.hub.address}/datasets/{repo}", "error": "" if is_new else "it is there already"}
        return self.send(json.dumps(answer).encode(), 200 if is_new else 409)

    def tell(self, repo: str) -> None:
        if repo not in self.hub.files or not self.is_known():
            return self.send(b"", 404)
        facts = {"_id": "1", "id": repo, "sha": COMMIT, "private": repo not in self.hub.public}
        facts["siblings"] = [{"rfilename": name} for name in self.hub.files[repo]]
        return self.send(json.dumps(facts).encode())

    def commit(self, repo: str, lines: list[dict]) -> None:
        for line in lines:
            match line:
                case {"key": "header", "value": {"summary": summary}}:
                    self.hub.commits.append(summary)
                case {"key": "file", "value": {"path": path, "content": content}}:
                    self.hub.files[repo][path] = base64.b64decode(content)
                case {"key": "deletedFile", "value": {"path": path}}:
                    del self.hub.files[repo][path]
        url = f"{self.hub.address}/datasets/{repo}/commit/{COMMIT}"
        self.send(json.dumps({"commitUrl": url, "commitOid": COMMIT}).encode())

    def is_known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {TOKEN}"

    def send(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[Hub]:
    """An empty hub at `address`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Protocol,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
