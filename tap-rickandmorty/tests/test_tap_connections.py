"""Ways to the API: a TLS server that only a CA of one's own vouches for, and a SOCKS server in between."""

import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter
from tap_api import Api, RunTap, serving, status
from tap_rickandmorty.session import Address, Session
from testkit.programs import succeed


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem, which vouches for itself, and key.pem; in `trusted` as OpenSSL looks it up."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=api -keyout key.pem -out cert.pem"
    extensions = (
        "subjectAltName=IP:127.0.0.1",
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,digitalSignature,keyCertSign",
    )
    added = (word for extension in extensions for word in ("-addext", extension))
    succeed("openssl", *request.split(), *added, cwd=folder)
    name = succeed("openssl", "x509", "-hash", "-noout", "-in", "cert.pem", cwd=folder).strip()
    (folder / "trusted").mkdir()
    shutil.copy(folder / "cert.pem", folder / "trusted" / f"{name}.0")
    (folder / "nothing").mkdir()
    return folder


@pytest.fixture
def tls_api(certificates: Path) -> Iterator[Api]:
    """The API, by HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with serving(context) as api:
        yield api


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUESTS_CA_BUNDLE", "{0}/cert.pem"),
        ("REQUESTS_CA_BUNDLE", "{0}/trusted"),
        ("CURL_CA_BUNDLE", "{0}/cert.pem"),
        ("SSL_CERT_FILE", "{0}/cert.pem"),
        ("SSL_CERT_DIR", "{0}/trusted"),
        ("SSL_CERT_DIR", "{0}/nothing:{0}/trusted"),
    ],
)
def test_a_ca_of_ones_own_is_trusted(  # noqa: PLR0913, PLR0917
    tls_api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, certificates: Path, name: str, value: str
) -> None:
    """A file, a folder, or several folders, by each variable that is usual."""
    monkeypatch.setenv(name, value.format(certificates))
    run_tap(api_url=tls_api.url).succeeded()
    assert len(tls_api.requests) == 6


@pytest.mark.parametrize("value", [None, "{0}/nothing", "{0}/not-there"])
def test_a_server_that_nobody_vouches_for_is_one_line(
    tls_api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, certificates: Path, value: str | None
) -> None:
    """Without the CA, and with a path that has none, nothing is asked and the variables are named."""
    if value:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", value.format(certificates))
    run_tap(api_url=tls_api.url).failed("after 1 attempt in", "certificate")
    assert tls_api.requests == []


def test_a_redirect_from_https_to_http_is_refused(
    tls_api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, certificates: Path
) -> None:
    """What was asked for in secret is not asked for in the open, not even of the same host."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "cert.pem"))
    open_url = tls_api.url.replace("https:", "http:") + "/character?page=1"
    tls_api.fault(r"character$", status(301, b"", Location=open_url))
    run_tap(api_url=tls_api.url).failed("leads to another host, http://127.0.0.1")


class Socks(threading.Thread):
    """A SOCKS5 server on a free port, with or without a password; `asked` holds the places it led to."""

    def __init__(self, login: bytes | None = None) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._login = login
        self.port = self._listener.getsockname()[1]
        self.asked: list[tuple[str, int]] = []
        self.start()

    def run(self) -> None:
        """Serve each client in a thread until the listener closes."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        client.recv(2 + 255)
        client.sendall(b"\x05\x02" if self._login else b"\x05\x00")
        if self._login:
            good = client.recv(513) == self._login
            client.sendall(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                client.close()
                return
        request = client.recv(512)
        size = {1: 4, 3: 1 + request[4]}[request[3]]
        host = socket.inet_ntoa(request[4:8]) if request[3] == 1 else request[5 : 4 + size].decode()
        place = host, int.from_bytes(request[4 + size : 6 + size], "big")
        self.asked.append(place)
        upstream = socket.create_connection(("127.0.0.1", place[1]))
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        threading.Thread(target=_pass_on, args=(upstream, client), daemon=True).start()
        _pass_on(client, upstream)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_server_takes_the_requests(
    api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    """socks5 resolves names here, socks5h there."""
    proxy = Socks()
    port = int(api.url.rpartition(":")[2].removesuffix("/api"))
    host = "api.example" if scheme == "socks5h" else "localhost"
    monkeypatch.setenv(name, f"{scheme}://127.0.0.1:{proxy.port}")
    run = run_tap(api_url=f"http://{host}:{port}/api")
    proxy.close()
    run.succeeded()
    assert len(api.requests) == 6
    assert {place[0] for place in proxy.asked} <= {"api.example", "127.0.0.1"}
    assert len(proxy.asked) <= 3


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9"])
def test_threads_share_the_connections_to_a_proxy(proxy: str) -> None:
    """Those that ask at the same moment for the first time, too: there are never more than `concurrency`."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(100):
                session = Session(Address("http://api.example/api"), 3, 0, other_hosts=False)
                adapter = session.get_adapter("http://api.example")
                assert isinstance(adapter, HTTPAdapter)
                first, *others = threads.map(adapter.proxy_manager_for, [proxy] * 8)
                assert all(manager is first for manager in others)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(("password", "status_"), [("hunter2", 0), ("wr0ng", 1)])
def test_a_socks_server_with_a_password(
    api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, password: str, status_: int
) -> None:
    """The right one is taken, the wrong one is one line; neither is shown."""
    proxy = Socks(login=b"\x01\x02me\x07hunter2")
    monkeypatch.setenv("http_proxy", f"socks5h://me:{password}@127.0.0.1:{proxy.port}")
    run = run_tap(max_attempts=2)
    proxy.close()
    assert run.status == status_, run.log
    assert (len(api.requests) == 6) is (status_ == 0)
    assert password not in run.log
    assert "Traceback" not in run.log
