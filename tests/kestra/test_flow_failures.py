"""What happens when a job fails, and after Kestra's own buttons, Restart and Kill; who is alerted."""

import json

import pytest
from kestra_engine import ALL, LOCAL, Engine
from meltano_stand_in import MeltanoStandIn, Webhook
from testkit.programs import alive, eventually


def test_one_job_fails_the_others_end_dbt_does_not_begin(
    kestra: Engine, fakes: MeltanoStandIn, webhook: Webhook
) -> None:
    """A failed job is tried twice, the slow one is awaited, dbt is not started, the run fails, the webhook is called."""
    fakes.behave(episode={"fail": 9, "status": 3}, location={"after": "episode"})
    webhook.answer(200)
    alarms = {"alert_secret": "ALERT_WEBHOOK", "heartbeat_url": f"{webhook.url}/alive"}
    with kestra.changed(LOCAL, **alarms):
        run = kestra.run(LOCAL)
    assert run.state == "FAILED"
    assert run.states == {"character": "SUCCESS", "episode": "FAILED", "location": "SUCCESS"}
    assert fakes.times == {"character": 1, "episode": 2, "location": 1}
    assert run.outputs["jobs"]["episode"]["state"] == "FAILED"
    assert "rows" not in run.outputs["jobs"]["episode"]
    assert run.outputs["jobs"]["location"]["rows"] == 126
    assert "Failed: episode." in run.log("ERROR")
    assert "episodes: 420 records staged, stream not complete, nothing loaded" in run.log("ERROR")
    assert "Command failed with exit code 3" in run.log("ERROR")
    (post,) = webhook.posts
    assert "ended as FAILED" in post["text"]
    assert run.root["labels"]["run_id"] in post["text"]
    assert "episode" in post["text"]
    assert not webhook.heartbeats
    # A secret, in no log and in no task's outputs.
    assert "hook-address" not in json.dumps(run.executions)


@pytest.mark.slow
def test_building_after_a_failure_means_nothing_without_dbt(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """With dbt off a failed job fails the run, whatever that input says."""
    fakes.behave(character={"fail": 9})
    run = kestra.run(LOCAL, jobs=["character"], execute_dbt=False, execute_dbt_after_failure=True)
    assert run.state == "FAILED"


# --- Restart --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_restart_runs_failed_jobs_again_with_the_same_run_id(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """A job whose second attempt succeeds is left alone; after two have failed Restart runs those two, then dbt; once more after one has failed again."""
    # Two attempts a time: character and location fail at first, location at the first Restart too.
    fakes.behave(character={"fail": 2}, episode={"fail": 1}, location={"fail": 4})
    execution = kestra.start(LOCAL)
    run = kestra.wait(execution)
    assert run.state == "FAILED"
    assert fakes.times == {"character": 2, "episode": 2, "location": 2}
    assert "failed: job character, location; a job lands whole or not at all" in run.log("ERROR")
    # No webhook is named.
    assert run.tasks["alert"] == "SKIPPED"
    run = kestra.restart(execution)
    assert run.state == "FAILED", run.log()
    assert fakes.times == {"character": 3, "episode": 2, "location": 4}
    run = kestra.restart(execution)
    assert run.state == "SUCCESS", run.log()
    assert fakes.times == {"character": 3, "episode": 2, "location": 5, "dbt": 1}
    assert fakes.run_ids == {run.outputs["run_id"]}
    states = {job: found["state"] for job, found in run.outputs["jobs"].items()}
    assert states == dict.fromkeys([*ALL, "dbt"], "SUCCESS")
    assert run.outputs["jobs"]["location"]["rows"] == 126


@pytest.mark.slow
def test_restart_after_a_failed_build_builds_again_and_fetches_nothing(
    kestra: Engine, fakes: MeltanoStandIn
) -> None:
    """A build that fails is not run twice by itself, and the line names what failed; Restart runs dbt alone."""
    fakes.behave(dbt={"fail": 1, "status": 1})
    execution = kestra.start(LOCAL, jobs=["episode"], dbt_select_pattern="tag:marts")
    run = kestra.wait(execution)
    assert run.state == "FAILED"
    assert run.outputs["jobs"]["episode"]["rows"] == 51
    assert fakes.times == {"episode": 1, "dbt": 1}
    assert "job dbt: 1 of 2 nodes failed: dim_episodes" in run.log("ERROR")
    assert "failed: job dbt. The job's own execution says why" in run.log("ERROR")
    run = kestra.restart(execution)
    assert run.state == "SUCCESS", run.log()
    assert fakes.times == {"episode": 1, "dbt": 2}
    selected = ["invoke", "dbt-bigquery:build", "--select", "tag:marts"]
    assert [call["arguments"] for call in fakes.begun("dbt")] == [selected] * 2
    assert len(fakes.run_ids) == 1


@pytest.mark.slow
def test_restart_of_a_run_with_an_allowed_failure_builds_alone(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """A run that built after a failed job, and whose build failed: Restart runs dbt, as the input asked."""
    fakes.behave(character={"fail": 9}, dbt={"fail": 1})
    execution = kestra.start(LOCAL, jobs=["character"], execute_dbt_after_failure=True)
    assert kestra.wait(execution).state == "FAILED"
    run = kestra.restart(execution)
    assert run.state == "WARNING", run.log()
    assert fakes.times == {"character": 2, "dbt": 2}
    assert run.outputs["jobs"]["dbt"]["state"] == "SUCCESS"
    assert run.outputs["jobs"]["character"]["state"] == "FAILED"


@pytest.mark.slow
def test_a_replay_of_the_task_that_failed_goes_on_to_the_end(
    kestra: Engine, fakes: MeltanoStandIn, webhook: Webhook
) -> None:
    """Kestra's Replay makes another run of it, under the same run id: one that fails again is a failure with its alert, one that succeeds builds."""
    fakes.behave(episode={"fail": 4})
    webhook.answer(200)
    with kestra.changed(LOCAL, alert_secret="ALERT_WEBHOOK"):  # noqa: S106 - a name
        run = kestra.run(LOCAL, jobs=["episode"])
        again, last = (
            kestra.wait(kestra.ask("replay", id=run.root["id"], task="fetch")["id"]) for _ in range(2)
        )
    assert [r.state for r in (run, again, last)] == ["FAILED", "FAILED", "SUCCESS"]
    assert len(webhook.posts) == 2
    assert fakes.times == {"episode": 5, "dbt": 1}
    assert fakes.run_ids == {last.outputs["run_id"]}


# --- Kill -----------------------------------------------------------------------------------------------------------


def test_a_kill_ends_everything_below(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """Killing the run kills its subflows, and no process is left."""
    fakes.behave(character={"sleep": 86400}, episode={"sleep": 86400})
    execution = kestra.start(LOCAL, jobs=["character", "episode"])
    pids = [fakes.until(job)["pid"] for job in ("character", "episode")]
    kestra.ask("kill", id=execution)
    run = kestra.wait(execution)
    assert run.state == "KILLED"
    assert run.states == {"character": "KILLED", "episode": "KILLED"}
    eventually(lambda: not any(map(alive, pids)), "a process has not ended")
    assert not fakes.begun("dbt")


@pytest.mark.slow
def test_a_kill_while_a_job_waits_for_its_next_attempt_ends_it_and_frees_the_next_run(
    kestra: Engine, fakes: MeltanoStandIn
) -> None:
    """The pause between attempts is the program's: a kill ends it, and the run that was queued behind it begins."""
    fakes.behave(episode={"fail": 1})
    with kestra.changed(LOCAL, retry_seconds="PT10M"):
        first = kestra.start(LOCAL, jobs=["episode"], execute_dbt=False)
        eventually(lambda: "again in 600 s" in kestra.look(first)[1].log("WARN"), "no attempt was waited for")
        second = kestra.start(LOCAL, jobs=["location"], execute_dbt=False)
        kestra.ask("kill", id=first)
        killed, run = kestra.wait(first), kestra.wait(second)
    assert {killed.state, *killed.states.values()} == {"KILLED"}
    assert run.state == "SUCCESS"
    assert fakes.times == {"episode": 1, "location": 1}


@pytest.mark.slow
def test_a_kill_of_a_queued_run_leaves_the_queue_as_it_was(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """Of three runs the second is killed while it waits: it never begins, the third does, once the first has ended."""
    fakes.behave(episode={"together": 2})
    first = kestra.start(LOCAL, jobs=["episode"], execute_dbt=False)
    fakes.until("episode")
    second, third = (kestra.start(LOCAL, jobs=[job], execute_dbt=False) for job in ("character", "location"))
    kestra.ask("kill", id=second)
    assert kestra.wait(second).state == "KILLED"
    fakes.go_on()
    assert kestra.wait(first).state == "SUCCESS"
    last = kestra.wait(third)
    assert last.state == "SUCCESS"
    assert "QUEUED" in last.root["states"]
    assert not fakes.begun("character")
    (ended,) = fakes.calls("end", "episode")
    assert fakes.until("location")["time"] > ended["time"]


# --- the alert --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "lost"),
    [pytest.param((500,), False, marks=pytest.mark.slow), ((500, 500), True)],
    ids=["once", "twice"],
)
def test_an_alert_that_does_not_arrive_is_sent_again_and_then_logged(
    kestra: Engine, fakes: MeltanoStandIn, webhook: Webhook, *, statuses: tuple[int, ...], lost: bool
) -> None:
    """A webhook that fails once has the message the second time; one that fails twice is an ERROR line in the run."""
    fakes.behave(dbt={"fail": 9})
    webhook.answer(*statuses)
    with kestra.changed(LOCAL, alert_secret="ALERT_WEBHOOK"):  # noqa: S106 - a name
        run = kestra.run(LOCAL, execute_fetch=False)
    assert len(webhook.posts) == 2
    assert "failed: dbt" in webhook.posts[-1]["text"]
    line = "Nobody was alerted: the webhook whose address is in the secret ALERT_WEBHOOK did not take the message, twice."
    assert (line in run.log("ERROR")) == lost
    assert "hook-address" not in json.dumps(run.executions)


@pytest.mark.slow
def test_a_webhook_that_never_answers_keeps_no_run_waiting(kestra: Engine, fakes: MeltanoStandIn) -> None:
    """The next run in the queue waits for the alert of the one before: it is given up, twice, and logged."""
    fakes.behave(dbt={"fail": 1})
    namespace = "rickandmorty.silent"
    kestra.run_locally(namespace, fakes)
    kestra.settings(namespace, alert_secret="SILENT_WEBHOOK")  # noqa: S106 - a name
    kestra.deploy(namespace, "local", **{"readIdleTimeout: PT20S": "readIdleTimeout: PT1S"})
    first, second = (kestra.start(namespace, execute_fetch=False) for _ in range(2))
    assert "Nobody was alerted" in kestra.wait(first, 120).log("ERROR")
    assert kestra.wait(second, 120).state == "SUCCESS"
