"""A Hugging Face Hub on loopback: what huggingface_hub asks for to push and fetch a model."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 39 + "1"  # of all commits: 40 hex digits


@dataclass
class Repository:
    """files: of its last commit. commits: the first line of the message of each."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class FakeHub:
    """large: files of this suffix go by LFS, all others in the commit; "" for none. refusals: part
    of a path -> the status and the message by which it is refused. asked: methods and paths of the
    requests about models. tokens: those that came with them. verified: digests that were asked for.
    """

    address: str = ""
    large: str = ".safetensors"
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)

    def create(self, given: Any) -> tuple[int, Any]:
        name = f"{given['organization']}/{given['name']}"
        there = name in self.repositories
        if not there:
            self.repositories[name] = Repository(given.get("visibility") == "private")
        return 409 if there else 200, {"url": f"{self.address}/{name}"}

    def describe(self, name: str, _: str = "") -> tuple[int, Any]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        repository = self.repositories[name]
        siblings = [{"rfilename": path} for path in repository.files]
        about = {"id": name, "sha": COMMIT, "private": repository.private, "siblings": siblings}
        return 200, about

    def list_files(self, name: str) -> tuple[int, Any]:
        files = self.repositories[name].files
        return 200, [
            {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
            for path, content in files.items()
        ]

    def choose_modes(self, given: Any) -> tuple[int, Any]:
        def is_large(path: str) -> bool:
            return bool(self.large) and path.endswith(self.large)

        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if is_large(each["path"]) else "regular",
                "shouldIgnore": False,
            }
            for each in given["files"]
        ]
        return 200, {"files": files}

    def offer_places(self, given: Any) -> tuple[int, Any]:
        offered = [
            each
            | {
                "actions": {
                    "upload": {"href": f"{self.address}/objects/{each['oid']}"},
                    "verify": {"href": f"{self.address}/verify"},
                }
            }
            for each in given["objects"]
        ]
        return 200, {"transfer": "basic", "objects": offered}

    def take_object(self, oid: str, content: bytes) -> tuple[int, Any]:
        if hashlib.sha256(content).hexdigest() != oid:
            return 400, {"error": "other bytes than those of this digest"}
        self.objects[oid] = content
        return 200, {}

    def verify(self, given: Any) -> tuple[int, Any]:
        self.verified.add(given["oid"])
        there = len(self.objects.get(given["oid"], b"")) == given["size"]
        return (200 if there else 404), {}

    def commit(self, name: str, content: bytes) -> tuple[int, Any]:
        repository = self.repositories[name]
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    repository.commits.append(value["summary"])
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repository.files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del repository.files[value["path"]]
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT}


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does, from `hub`."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_POST(self) -> None:
        content = self._read()
        self._answer(
            {
                r"/api/repos/create": lambda: self.hub.create(json.loads(content)),
                r"/api/validate-yaml": lambda: (200, {}),
                r"/api/models/(.+)/preupload/main": lambda _: self.hub.choose_modes(
                    json.loads(content)
                ),
                r"/(.+)\.git/info/lfs/objects/batch": lambda _: self.hub.offer_places(
                    json.loads(content)
                ),
                r"/verify": lambda: self.hub.verify(json.loads(content)),
                r"/api/models/(.+)/commit/main": lambda name: self.hub.commit(name, content),
            }
        )

    def do_PUT(self) -> None:
        content = self._read()
        self._answer({r"/objects/(.+)": lambda oid: self.hub.take_object(oid, content)})

    def do_GET(self) -> None:
        self._answer(
            {
                r"/api/models/(.+)/tree/[^/]+": self.hub.list_files,
                r"/api/models/(.+)/revision/(.+)": self.hub.describe,
                r"/api/models/(.+)": self.hub.describe,
                r"/(.+)/resolve/[^/]+/(.+)": self._send_file,
            }
        )

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, answers: dict[str, Callable[..., tuple[int, Any] | None]]) -> None:
        """Send what the first answer gives whose pattern is that of the path."""
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/") or path == "/api/repos/create":
            self.hub.asked.append(f"{self.command} {path}")
            self.hub.tokens.add(self.headers["Authorization"])
        for part, (status, message) in self.hub.refusals.items():
            if part in path:
                self._send(status, {"error": message})
                return
        for pattern, answer in answers.items():
            if found := re.fullmatch(pattern, path):
                if (given := answer(*found.groups())) is not None:
                    self._send(*given)
                return
        self._send(404, {"error": f"nothing at {path}"})

    def _send_file(self, name: str, path: str) -> None:
        content = self.hub.repositories[name].files[path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send_bytes(200, content, {"ETag": etag, "X-Repo-Commit": COMMIT})

    def _send(self, status: int, answer: Any) -> None:
        kind = {"Content-Type": "application/json"}
        self._send_bytes(status, json.dumps(answer).encode(), kind)

    def _send_bytes(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _read(self) -> bytes:
        """Return the body of the request, which may come in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A Hub without repositories, whose requests are answered in the block."""
    hub = FakeHub()
    handler = type("OwnHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
