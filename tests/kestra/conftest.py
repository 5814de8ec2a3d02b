"""One Kestra engine, one stand-in of Google Batch and one of Meltano for the tests of the flows."""

import base64
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from google_batch import GoogleBatch
from kestra_engine import BATCH, BRACES, LOCAL, NEEDED, VARIANTS, Engine
from meltano_stand_in import IMPORTS, MELTANO_JOB, PROGRAMS, Meltano, MeltanoStandIn, Webhook

from testkit import warm


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    """A webhook."""
    with Webhook() as server:
        yield server


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name: the engine makes many below it."""
    folder = Path(tempfile.mkdtemp(prefix="kestra-"))
    (folder / "fakes").mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def google_batch(folder: Path) -> Iterator[GoogleBatch]:
    """Google Batch, whose containers run the program of the image with a Meltano stood in for."""
    server = GoogleBatch(warm.script(MELTANO_JOB, *IMPORTS), folder)
    yield server
    server.forget()
    server.close()


@pytest.fixture
def batch(google_batch: GoogleBatch) -> GoogleBatch:
    """The stand-in of Google Batch, as new."""
    google_batch.forget()
    return google_batch


@pytest.fixture
def fakes(folder: Path) -> MeltanoStandIn:
    """The stand-in of Meltano; it behaves well."""
    return MeltanoStandIn(folder / "fakes")


@pytest.fixture
def meltano(tmp_path: Path) -> Meltano:
    """A Meltano without flows: meltano-job is started on it."""
    return Meltano(tmp_path)


@pytest.fixture(scope="session")
def kestra(folder: Path, webhook: Webhook, google_batch: GoogleBatch) -> Iterator[Engine]:
    """The engine, every variant deployed in a namespace of its own, as environments have, and its settings set."""
    silent = socket.create_server(("127.0.0.1", 0))
    secrets = {
        # With the newline that `echo ADDRESS | base64` leaves.
        "SECRET_ALERT_WEBHOOK": f"{webhook.url}/hook-address\n",
        # It takes connections and never answers.
        "SECRET_SILENT_WEBHOOK": f"http://127.0.0.1:{silent.getsockname()[1]}",
    }
    environment = {
        "PATH": f"{PROGRAMS}{os.pathsep}{google_batch.path()}",
        **{name: base64.b64encode(text.encode()).decode() for name, text in secrets.items()},
        **google_batch.environment(),
    }
    engine = Engine(folder, environment)
    fakes = MeltanoStandIn(folder / "fakes")
    for variant in VARIANTS:
        engine.deploy(f"rickandmorty.{variant}", variant)
        engine.settings(f"rickandmorty.{variant}", **NEEDED, environment=BRACES, retry_seconds="0.1")
    engine.run_locally(LOCAL, fakes, **BRACES)
    landing = {"TARGET_BIGQUERY_BUCKET": "a-landing", "STORAGE_EMULATOR_HOST": google_batch.url}
    engine.settings(
        BATCH, environment={**fakes.variables, **BRACES, **landing}, poll_seconds="PT0.2S", log_seconds="5"
    )
    yield engine
    engine.close()
    silent.close()
