"""Google's own command line before a stand-in of Google's APIs."""

import shutil
from pathlib import Path

from testkit.required_tools import missing


def require_gcloud() -> None:
    """Skip the test where gcloud is missing."""
    if shutil.which("gcloud") is None:
        missing("gcloud", "the package google-cloud-cli has it")


def environment(folder: Path, token: str, **endpoints: str) -> dict[str, str]:
    """Return what makes gcloud use this token, keep its files in `folder`, and call these addresses (`BATCH="http://…"`)."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    return {
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(folder / "token"),
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": url for name, url in endpoints.items()},
    }
