"""The SDK's standard target tests, against the local Cloud Storage and BigQuery."""

import pytest
from singer_sdk.testing import get_target_test_class
from target_bigquery.target import TargetBigQuery
from testkit.target_bench import Bench

Standard = get_target_test_class(
    TargetBigQuery, config={"dataset": "standard", "bucket": "local-landing", "project": "local-project"}
)


@pytest.fixture(scope="module")
def dataset(cloud: dict[str, str]) -> None:
    """The dataset of the SDK's tests."""
    Bench(cloud).owner().create_dataset("standard", exists_ok=True)


@pytest.mark.usefixtures("dataset")
class TestTargetBigQuery(Standard):  # type: ignore[misc,valid-type]
    """The SDK's tests; what cannot apply is excluded by name."""

    @pytest.mark.skip(
        reason="its record has a version that is never activated: what is not whole is not loaded"
    )
    def test_target_special_chars_in_attributes(self) -> None:
        """Its names are covered by test_target_schema.py."""
