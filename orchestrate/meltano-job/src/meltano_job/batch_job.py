"""The settings of a job in Google Batch, checked, and its definition (see `runners/batch.yml`)."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meltano_job.settings import Reader

# Of a lost machine: https://cloud.google.com/batch/docs/troubleshooting#reserved-exit-codes
RETRIED = {
    50001: "the spot machine was taken away",
    50002: "the machine stopped reporting",
    50003: "the machine was rebooted",
    50006: "the machine was recreated",
}
MOST_MACHINES = 3


def as_name(text: str) -> str:
    """Return a text in the letters of Batch's names: lower-case ones, digits and hyphens."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower())


@dataclass(frozen=True)
class Place:
    """Where this execution's Batch jobs are, checked; times in seconds."""

    base: str
    job: str
    execution: str
    project: str
    region: str
    poll: float
    credentials: str

    @classmethod
    def read(cls, reader: Reader) -> "Place":
        """Read the variables; complaints stay with the reader."""
        job = reader.job()
        execution = reader.text("EXECUTION_ID")
        return cls(
            # At most 63 characters with the number; the whole execution id keeps the jobs of executions apart.
            base=as_name(f"rickandmorty-{job[:20]}-{execution}")[:58],
            job=job,
            execution=execution,
            project=reader.text("GCP_PROJECT", like=r"[a-z0-9.:-]+", example="a project id"),
            region=reader.text(
                "GCP_REGION", like=r"[a-z]+-[a-z]+\d+", example="a region such as europe-west1"
            ),
            poll=reader.seconds("POLL_SECONDS", 15, 0.05, 600),
            credentials=credentials(reader, reader.text("GOOGLE_CREDENTIALS", "", like=r"(?s).*")),
        )

    @property
    def flags(self) -> list[str]:
        """The flags of every call."""
        return [f"--project={self.project}", f"--location={self.region}"]


@dataclass(frozen=True)
class Settings:
    """What the flow gives for a run, checked; times in seconds."""

    place: Place
    run_id: str
    image: str
    variables: dict[str, str]
    resources: dict[str, str]
    machine: dict[str, str]
    service_account: str
    network: dict[str, Any]
    limit: float
    late: float

    @classmethod
    def read(cls, reader: Reader) -> "Settings":
        """Read the variables.

        Raises:
            SettingsError: Some are wrong.
        """
        place = Place.read(reader)
        network, subnetwork = reader.text("NETWORK", ""), reader.text("SUBNETWORK", "")
        if bool(network) != bool(subnetwork):
            missing = "subnetwork" if network else "network"
            reader.refuse(
                f"setting {missing} is not set, and its other half is: expected both, or neither for the default network"
            )
        interface = {"network": network, "subnetwork": subnetwork, "noExternalIpAddress": True}
        # The container checks these too; here a mistake is found before a machine is paid for.
        attempts = reader.attempts()
        given = {
            **reader.mapping("ENVIRONMENT"),
            "MELTANO_JOB": place.job,
            "MELTANO_RUN_ID": reader.run_id(),
            "DBT_SELECT": reader.selection(),
            "ATTEMPTS": str(attempts.most),
            "RETRY_SECONDS": f"{attempts.pause:g}",
            "JOB_TIMEOUT": f"{attempts.limit:g}",
        }
        found = cls(
            place=place,
            run_id=given["MELTANO_RUN_ID"],
            image=reader.text("IMAGE", like=r"\S+", example="an image by digest, NAME@sha256:…"),
            variables=given,
            resources={
                "cpuMilli": str(reader.whole("CPU_MILLI", 1000, 100, 416_000)),
                "memoryMib": str(reader.whole("MEMORY_MIB", 2048, 256, 10_000_000)),
            },
            machine={
                "machineType": reader.text(
                    "MACHINE_TYPE", "e2-medium", like=r"[a-z0-9-]+", example="a type such as e2-medium"
                ),
                "provisioningModel": reader.text(
                    "PROVISIONING", "STANDARD", like="STANDARD|SPOT", example="STANDARD or SPOT"
                ),
            },
            service_account=reader.text(
                "SERVICE_ACCOUNT", like=r"[^@\s]+@[^@\s]+", example="an e-mail address"
            ),
            network={"networkInterfaces": [interface]} if network and subnetwork else {},
            limit=attempts.limit,
            late=reader.seconds("LOG_SECONDS", 30, 0, 600),
        )
        reader.check()
        return found

    def definition(self) -> dict[str, Any]:
        """Return the Batch job's definition."""
        container = {"imageUri": self.image, "entrypoint": "meltano-job"}
        task = {
            "runnables": [{"container": container, "environment": {"variables": self.variables}}],
            "computeResource": self.resources,
            # The container keeps the limit itself; this ends one that does not, and an orphan.
            "maxRunDuration": f"{self.limit + 600:.0f}s",
            "maxRetryCount": MOST_MACHINES,
            "lifecyclePolicies": [{"action": "RETRY_TASK", "actionCondition": {"exitCodes": list(RETRIED)}}],
        }
        allocation: dict[str, Any] = {
            "instances": [{"policy": self.machine}],
            "location": {"allowedLocations": [f"regions/{self.place.region}"]},
            "serviceAccount": {"email": self.service_account},
        }
        if self.network:
            allocation["network"] = self.network
        return {
            "taskGroups": [{"taskCount": "1", "taskSpec": task}],
            "allocationPolicy": allocation,
            "labels": {
                "pipeline": "rickandmorty",
                "job": as_name(self.place.job)[:63],
                "run_id": self.run_id,
                "execution": self.place.execution.lower(),
            },
            "logsPolicy": {"destination": "CLOUD_LOGGING"},
        }


def credentials(reader: Reader, text: str) -> str:
    """Check the credentials of a Kestra outside Google Cloud; return them."""
    if not text:
        return ""
    expected = "the JSON of a service account's key or of workload identity federation (type service_account or external_account)"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        reader.refuse(f"the secret that credentials_secret names is not JSON: expected {expected}")
        return ""
    found = found if isinstance(found, dict) else {}
    if found.get("type") not in {"service_account", "external_account"}:
        reader.refuse(
            f"the secret that credentials_secret names has type {found.get('type')!r}: expected {expected}"
        )
    source = found.get("credential_source")
    source = source if isinstance(source, dict) else {}
    # What a configuration of workload identity federation may take its token from, and the container of gcloud does not have.
    for kind in ("file", "executable"):
        if kind in source and not Path(str(source[kind])).is_file():
            reader.refuse(
                f"the secret that credentials_secret names takes its token from the {kind} {source[kind]!r:.200}, "
                "which the container of gcloud does not have: expected a credential_source with a url"
            )
    return text
