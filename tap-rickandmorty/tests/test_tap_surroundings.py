"""The environment and the address: proxies in every form, certificates, blank settings, and secrets that stay secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tap_api import Api, RunTap, character, location, status

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("hunter2", "t0ken")


@pytest.mark.parametrize(
    "form", ["http://{}", "{}", "http://me:hunter2@{}"], ids=["url", "host-and-port", "with-a-password"]
)
def test_a_proxy_takes_the_requests(
    api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Whole address, host and port, or with a password: the proxy is asked, and the password is not shown."""
    monkeypatch.setenv("http_proxy", form.format(api.url.removeprefix("http://").removesuffix("/api")))
    run = run_tap(api_url="http://api.example/api").succeeded()
    assert {path.startswith("http://api.example/") for path, _ in api.requests} == {True}
    assert "hunter2" not in run.log


@pytest.mark.parametrize("form", ["{host}", "{host}:{port}", "other.example, {host}:{port}", "*"])
def test_no_proxy_lists_hosts_without_a_proxy(
    api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A host, a host with its port, one of a list, or all."""
    host, _, port = api.url.removeprefix("http://").removesuffix("/api").partition(":")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", form.format(host=host, port=port))
    run_tap().succeeded()
    assert len(api.requests) == 6


@pytest.mark.parametrize(
    "proxy",
    [
        "http://127.0.0.1:1",
        "socks5://127.0.0.1:1",
        "socks5h://me:hunter2@127.0.0.1:1",
        "nonsense://x",
        "http://",
    ],
)
def test_a_proxy_that_does_not_work_is_one_line(
    run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Its failure is reported as any other, without its password."""
    monkeypatch.setenv("http_proxy", proxy)
    run = run_tap(max_attempts=1).failed("/character: ")
    assert "hunter2" not in run.log


@pytest.mark.parametrize(
    "name",
    [
        "http_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ],
)
def test_an_empty_variable_counts_as_absent(
    run_tap: RunTap, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is as if it were not set."""
    monkeypatch.setenv(name, "")
    run_tap().succeeded()


def test_blank_and_null_settings_count_as_absent(api: Api, run_tap: RunTap, tmp_path: Path) -> None:
    """In the environment and in a file: the default counts."""
    run_tap(concurrency="", timeout="", user_agent="", source="", drift_new_field="").succeeded()
    config = {
        "api_url": api.url,
        "concurrency": None,
        "timeout": None,
        "user_agent": "",
        "max_attempts": None,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    run_tap(f"--config={tmp_path / 'config.json'}").succeeded()


def test_secrets_of_the_address_are_sent_and_never_shown(api: Api, run_tap: RunTap) -> None:
    """User, password and query go with every request; no log, no error and no STATE has them."""
    url = api.url.replace("http://", "http://me:hunter2@") + "?key=t0ken&my%20key=t0ken&a%5Bb%5D=t0ken"
    api.fault(r"character\?", status(503))
    run = run_tap(api_url=url, loglevel="debug").succeeded()
    assert {path.count("=t0ken") for path, _ in api.requests} == {3}
    assert {h["Authorization"] for _, h in api.requests} == {"Basic bWU6aHVudGVyMg=="}
    assert not [word for word in SECRETS if word in run.log + run.out]
    for fault in (
        status(403),
        status(302, b"", Location="http://me:hunter2@127.0.0.2/?key=t0ken"),
        status(200, b"x"),
    ):
        api.fault(r"character\?", fault, times=9)
        run = run_tap(api_url=url, max_attempts=2).failed()
        assert not [word for word in SECRETS if word in run.log + run.out]
        api.faults.clear()
    run = run_tap(api_url="http://me:hunter2@127.0.0.1:1/api?key=t0ken", max_attempts=2).failed()
    assert not [word for word in SECRETS if word in run.log + run.out]


def test_places_that_are_null_come_through(api: Api, run_tap: RunTap) -> None:
    """The makers' own data has characters whose origin or location is lost, and a location with number 0."""
    api.records["character"][3] = character(4, origin=None, location=None)
    api.records["location"].insert(0, location(0))
    run = run_tap().succeeded()
    assert run.records("characters") == api.records["character"]
    assert run.records("locations") == api.records["location"]
    assert len(api.requests) == 6


@pytest.mark.parametrize("catalog", ["none of ours", "no streams", "none selected"])
def test_a_selection_of_nothing_is_an_error(api: Api, run_tap: RunTap, tmp_path: Path, catalog: str) -> None:
    """Doing nothing is not success: exit status 1, and the streams that could be selected."""
    document = json.loads(run_tap("--discover").out) if catalog != "no streams" else {"streams": []}
    for stream in document["streams"]:
        stream["tap_stream_id"] += "x" if catalog == "none of ours" else ""
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = catalog != "none selected"
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps(document))
    run = run_tap("--catalog", str(file)).failed(
        "the catalog selects no stream", "characters, episodes, locations"
    )
    assert run.messages == []
    assert api.requests == []


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("concurrency", 0, "0 is less than the minimum of 1"),
        ("concurrency", "many", "concurrency: 'many' is not of type 'integer'"),
        ("timeout", "²", "timeout: '²' is not of type 'integer'"),
        ("timeout", "1e3", "timeout: '1e3' is not of type 'integer'"),
        ("max_attempts", 99, "99 is greater than the maximum of 20"),
        ("drift_new_field", "maybe", "'maybe' is not one of"),
        ("allow_other_hosts", "maybe", "allow_other_hosts: 'maybe' is not of type 'boolean'"),
        ("stream_maps", "{bad", "stream_maps: '{bad' is not of type 'object'"),
        ("api_url", "ftp://x", "api_url: expected http://HOST/api"),
        ("api_url", "https://me:hunter2@", "api_url: expected http://HOST/api"),
        ("api_url", "http://host:99999/api", "api_url: expected http://HOST/api"),
        ("api_url", "http://[::1/api", "api_url: expected http://HOST/api"),
        ("user_agent", "a\nb", "user_agent: expected letters"),
        ("user_agent", "ä", "user_agent: expected letters"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    api: Api, run_tap: RunTap, name: str, value: object, named: str
) -> None:
    """The setting, what it holds and what it may are in a line, before anything is asked for; no secret is shown."""
    run = run_tap(**{name: value})
    assert run.status == 1
    assert named in run.log
    assert not [word for word in ("unexpected", "Traceback", "hunter2") if word in run.log]
    assert api.requests == []


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--state", "{bad", "expected a JSON object, got what is not JSON"),
        ("--state", "", "expected a JSON object, got what is not JSON"),
        ("--state", '{"bookmarks": []}', "with 'bookmarks' as an object"),
        ("--catalog", "[]", "with 'streams' as a list"),
        ("--catalog", '{"streams": {}}', "with 'streams' as a list"),
        ("--config", "{bad", "expected a file with a JSON object"),
        ("--config", "[1]", "expected a file with a JSON object"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    run_tap: RunTap, tmp_path: Path, option: str, text: str, words: str
) -> None:
    """State, catalog and settings: the option, the file and what was expected, without a traceback."""
    file = tmp_path / "input.json"
    file.write_text(text)
    run = run_tap(option, str(file))
    assert run.status != 0
    for word in (option, str(file), words):
        assert word in run.log
    assert "Traceback" not in run.log
    assert "unexpected" not in run.log
