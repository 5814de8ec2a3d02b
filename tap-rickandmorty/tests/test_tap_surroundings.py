"""The environment and the address: proxies in every form, certificates, blank settings, and secrets that stay secret."""

import json
import os
import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from singer_sdk.exceptions import ConfigValidationError
from tap_api import TRUST, Api, RunTap, bad_header, character, drip_headers, environment, location, status
from tap_rickandmorty.tap import TapRickAndMorty

from testkit import programs, warm

SECRETS = ("hunter2", "t0ken")
STREAM = '{"streams": [{"tap_stream_id": "episodes", %s}]}'
METADATA = STREAM % '"metadata": [{"breadcrumb": [], "metadata": {%s}}]'


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
    assert ("connection to the proxy failed" in run.last_line()) is (proxy == "http://127.0.0.1:1")


def test_a_proxy_whose_answer_never_ends_is_one_line(
    api: Api, run_tap: RunTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to an HTTPS server begins with a request to the proxy: its time is the request's."""
    monkeypatch.setenv("https_proxy", api.url.removesuffix("/api"))
    api.fault(r"^api\.example:443$", drip_headers, times=9)
    run_tap(api_url="https://api.example/api", timeout=1, max_attempts=2).failed("no whole answer within 1 s")


def test_empty_variables_count_as_absent(run_tap: RunTap, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as if they were not set."""
    for name in ("http_proxy", "HTTPS_PROXY", "no_proxy", *TRUST):
        monkeypatch.setenv(name, "")
    run_tap().succeeded()


def test_blank_and_null_settings_count_as_absent(api: Api, run_tap: RunTap, tmp_path: Path) -> None:
    """In the environment and in a file: the default counts."""
    run_tap(concurrency="", timeout="", user_agent="", source="", drift_new_field="").succeeded()
    nulls = dict.fromkeys(("concurrency", "timeout", "max_attempts"))
    (tmp_path / "config.json").write_text(json.dumps({"api_url": api.url, "user_agent": "", **nulls}))
    run_tap(f"--config={tmp_path / 'config.json'}").succeeded()


def test_secrets_of_the_address_are_sent_and_never_shown(api: Api, run_tap: RunTap) -> None:
    """User, password and query go with every request; no log, no error and no STATE has them."""
    url = (
        api.url.replace("http://", "http://me:hunter2@")
        + "?key=t0ken&my%20key=t0ken&a%5Bb%5D=t0ken&a%5Bb%5D=2&empty="
    )
    api.fault(r"character\?", status(503))
    run = run_tap(api_url=url, loglevel="debug").succeeded()
    assert {path.count("=t0ken") for path, _ in api.requests} == {3}
    assert {"&a%5Bb%5D=2&empty=" in path for path, _ in api.requests} == {True}
    assert {h["Authorization"] for _, h in api.requests} == {"Basic bWU6aHVudGVyMg=="}
    assert not [word for word in SECRETS if word in run.log + run.out]
    for fault in (
        status(403),
        status(302, b"", Location="http://me:hunter2@127.0.0.2/?key=t0ken"),
        status(200, b"x"),
        bad_header,
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


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--state", "{bad", "expected a JSON object, got what is not JSON"),
        ("--state", "", "expected a JSON object, got what is not JSON"),
        ("--state", '{"bookmarks": []}', "bookmarks: [] is not of type"),
        ("--state", '{"bookmarks": {"characters": null}}', "bookmarks: characters: null is not of type"),
        ("--state", '{"bookmarks": {"episodes": {"complete_count": "9"}}}', "complete_count: "),
        ("--state", '{"type": "STATE", "value": {"bookmarks": {}}}', '"bookmarks" is a required property'),
        ("--state", '{"singer_state": {"bookmarks": {}}}', '"bookmarks" is a required property'),
        ("--catalog", "[]", "[] is not of type"),
        ("--catalog", '{"streams": {}}', "streams: {} is not of type"),
        ("--catalog", '{"streams": [{"stream": "episodes"}]}', '"tap_stream_id" is a required property'),
        ("--catalog", '{"streams": [{"tap_stream_id": 1}]}', "tap_stream_id: 1 is not of type"),
        (
            "--catalog",
            STREAM % '"schema": {"selected": false}',
            "schema: selected: False schema does not allow",
        ),
        ("--catalog", STREAM % '"schema": {"properties": {"id": 1}}', "properties: id: 1 is not of type"),
        ("--catalog", STREAM % '"replication_key": 1', "replication_key: 1 is not of type"),
        ("--catalog", STREAM % '"metadata": [{"metadata": {}}]', '"breadcrumb" is a required property'),
        ("--catalog", METADATA % '"selected": "false"', 'selected: "false" is not of type'),
        ("--catalog", METADATA % '"inclusion": "no"', 'inclusion: "no" is not one of'),
        ("--config", "{bad", "expected a file with a JSON object"),
        ("--config", "[1]", "expected a file with a JSON object"),
        ("--config", '{"max_shrink_precent": 0}', "'max_shrink_precent' was unexpected"),
        ("--config", '{"batch_config": {}}', "'batch_config' was unexpected"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    run_tap: RunTap, tmp_path: Path, option: str, text: str, words: str
) -> None:
    """State, catalog and settings: what was expected, without a traceback, before anything is asked for."""
    file = tmp_path / "input.json"
    file.write_text(text)
    run = run_tap(option, str(file))
    assert run.status != 0
    assert words in run.log
    assert not [word for word in ("Traceback", "unexpected:") if word in run.log]
    assert run.messages == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_state_that_another_system_wrote_counts(run_tap: RunTap, tmp_path: Path, encoding: str) -> None:
    """Windows writes a byte order mark, or UTF-16; a number may have become 1e2, and a name of the source be missing."""
    file = tmp_path / "state.json"
    file.write_text('{"bookmarks": {"characters": {"complete_count": 1e2}}, "streams": 3}', encoding=encoding)
    run_tap("--state", str(file)).failed("100 records when it was last whole")


def test_settings_of_the_environment_without_the_option_are_an_error(api: Api) -> None:
    """Without --config=ENV the SDK reads none of them: the tap would read the live API."""
    done = programs.run(*warm.command("tap_rickandmorty"), env=environment(api, max_attempts=1))
    assert done.returncode == 1
    assert "TAP_RICKANDMORTY_API_URL" in done.stderr.splitlines()[-1]
    assert "--config=ENV" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_settings_of_a_dotenv_file_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads one: a blank setting counts as absent there, and what cannot be read is named."""
    file = tmp_path / ".env"
    file.write_text("TAP_RICKANDMORTY_TIMEOUT=\nTAP_RICKANDMORTY_ALLOW_OTHER_HOSTS=maybe\n")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for module in ("dotenv.main", "singer_sdk.configuration._dict_config"):
        monkeypatch.setattr(f"{module}.find_dotenv", lambda: str(file))
    with pytest.raises(ConfigValidationError) as error:
        TapRickAndMorty(parse_env_config=True)
    assert error.value.errors == ["allow_other_hosts: 'maybe' is not of type 'boolean'"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"properties": {}', "JSONDecodeError"),
        ('{"properties": {"name": {"type": "string"}}}', "KeyError: 'id'"),
        ('{"properties": {"id": {"type": "integer"}, "x": true}}', "({} for true)"),
        ('{"properties": {"id": {"$ref": "#/$defs/no"}}}', "'/$defs/no' does not exist"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named(api: Api, tmp_path: Path, text: str, named: str) -> None:
    """A schema is written by hand: the line names its file, not a place in the tap's code."""
    copy = shutil.copytree(str(files("tap_rickandmorty")), tmp_path / "tap_rickandmorty")
    (copy / "schemas" / "episodes.json").write_text(text)
    env = environment(api) | {"PYTHONPATH": str(tmp_path)}
    run = programs.run(sys.executable, "-m", "tap_rickandmorty", "--config=ENV", "--discover", env=env)
    assert run.returncode == 1
    assert "episodes: schemas/episodes.json: expected a JSON schema" in run.stderr.splitlines()[-1]
    assert named in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("option", ["--discover", "--test"])
def test_every_way_to_start_the_tap_ends_in_one_line(run_tap: RunTap, option: str) -> None:
    """With a setting that cannot be used, too."""
    run = run_tap(option, concurrency=0)
    assert "Traceback" not in run.log
    assert (run.status == 0) is (option == "--discover"), run.log


@pytest.mark.parametrize(
    ("option", "output", "named"),
    [
        ("", ">&-", "standard output is closed"),
        ("", "> /dev/full", "output: No space left on device; make room"),
        *(
            (f"--{one}", "> /dev/full", "output: No space left on device; make room")
            for one in ("about", "discover", "help")
        ),
        ("--version", ">&-", "standard output is closed"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(api: Api, option: str, output: str, named: str) -> None:
    """Closed, as a shell's `>&-` makes it, or a file on a full disk."""
    command = shlex.join([sys.executable, "-m", "tap_rickandmorty", "--config=ENV"])
    done = programs.run("sh", "-c", f"{command} {option} {output}", env=environment(api))
    assert done.returncode == 1
    assert named in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "full" in output or api.requests == []


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
        ("stream_maps", '{"characters": {"n": "f("}}', "stream_maps or flattening cannot be applied"),
        ("stream_maps", '{"characters": {"n": "int(name)"}}', "cannot be applied to record 1: invalid"),
        ("api_url", "ftp://x", "api_url: expected http://HOST/api"),
        ("api_url", "https://me:hunter2@", "api_url: expected http://HOST/api"),
        ("api_url", "https://me:p/hunter2@host/api", "'https://***@host/api'"),
        ("api_url", "http://me:@hunter2@host:99999/api", "'http://***@host:99999/api'"),
        ("api_url", "http://host:99999/api", "api_url: expected http://HOST/api"),
        ("api_url", "http://[::1/api", "api_url: expected http://HOST/api"),
        ("user_agent", "a\nb", "user_agent: expected letters"),
        ("user_agent", "ä", "user_agent: expected letters"),
        ("max_shrink_precent", 0, "TAP_RICKANDMORTY_MAX_SHRINK_PRECENT: the tap has no such setting"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    api: Api, run_tap: RunTap, name: str, value: object, named: str
) -> None:
    """The setting, what it holds and what it may are in a line, as early as it can be known; no secret is shown."""
    run = run_tap(**{name: value})
    assert run.status == 1
    assert named in run.log
    assert not [word for word in ("unexpected", "Traceback", "hunter2") if word in run.log]
    assert bool(api.requests) is ("record 1" in named)
