"""STATE waits for the data, however long a run takes, and nothing secret is ever logged."""

import json
from collections.abc import Iterator
from typing import IO, cast

import pytest
from target_bigquery.target import TargetBigQuery
from testkit.target_bench import SCHEMA, STATE, Bench, record, whole


def test_no_state_before_its_data_however_long_the_run(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records older than the SDK's limit (five minutes, here none) do not drain the sinks: STATE goes out after the load, once."""
    for name, value in bench.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(TargetBigQuery, "_MAX_RECORD_AGE_IN_MINUTES", -1.0)

    def lines() -> Iterator[str]:
        for message in (SCHEMA, record(1), STATE, record(2), STATE, whole()):
            yield json.dumps(message)
            assert capsys.readouterr().out == ""

    TargetBigQuery(parse_env_config=True).listen(cast("IO[str]", lines()))
    assert json.loads(capsys.readouterr().out) == STATE["value"]
    assert len(bench.rows()) == 2


@pytest.mark.parametrize("bucket", ["local-landing", "no-such-bucket"], ids=["ends-well", "fails"])
def test_no_secret_is_logged(bench: Bench, bucket: str) -> None:
    """A planted token in the credentials, and one in a setting, are in no line, at the level that logs most."""
    planted = "planted-2f1c9e"
    bench.env = {**bench.env, "TARGET_BIGQUERY_LOGLEVEL": "debug"}
    bench.env["TARGET_BIGQUERY_STREAM_MAPS"] = json.dumps({"nothing": {"x": f"'{planted}'"}})
    with bench.as_account(token=planted):
        path = bench.env["GOOGLE_APPLICATION_CREDENTIALS"]
        run = bench.load(SCHEMA, record(1), whole(), STATE, bucket=bucket)
    assert run.returncode == (0 if bucket == "local-landing" else 1), run.stderr
    assert "| DEBUG " in run.stderr
    assert planted not in run.stderr + run.stdout
    assert path not in run.stdout
