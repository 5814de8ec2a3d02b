"""Manifests: each describes one load of a stream and run, and is created in Cloud Storage before the load's job starts.

The first attempt to create the manifest of a place decides what the run loads there. The load job's id is made of the
manifest's content, so every attempt finishes the same job. A later attempt of the run is compared with the manifests:
rows that they have are not loaded again.
"""

import gzip
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from google.cloud.bigquery import SchemaField

from target_bigquery.errors import TargetError
from target_bigquery.landing import Landing, Staged
from target_bigquery.lifecycle import Replication
from target_bigquery.schema import METADATA

# A deletion mark comes from the source, the rest of the metadata from the attempt.
NOT_CONTENT = set(METADATA) - {"_sdc_deleted_at"}
MODULUS = 1 << 128
row_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
row_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


@dataclass(frozen=True)
class Manifest:
    """One load: a version of a stream, its parts, and their description.

    `destination` is project and dataset. `place` is its number among the run's manifests of the stream, `load` the number
    of those before it that have parts. `fields` are the columns to load, as BigQuery's API has them. Times are ISO 8601.
    """

    destination: str
    run_id: str
    stream: str
    table: str
    place: int
    load: int
    version: int
    method: str
    replication: str
    proof: str
    source: str | None
    extractor: str | None
    keys: list[str]
    fields: list[dict[str, Any]]
    fingerprint: str
    parts: list[Staged]
    started_at: str
    numbered: bool

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def size(self) -> int:
        """Compressed bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def adds(self) -> bool:
        """Whether its rows count beside those of other loads, whatever their order."""
        return self.method == "append-only" and self.replication == Replication.INCREMENTAL

    @property
    def schema(self) -> list[SchemaField]:
        """The columns to load."""
        return [SchemaField.from_api_repr(item) for item in self.fields]

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the manifest's content."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The object's name."""
        return f"{folder(self.destination, self.run_id, self.extractor)}{self.table}-{self.place:05}.json"

    @property
    def job_id(self) -> str:
        """The id of the job that changes the table, without the attempt's number.

        It does not depend on the rows: BigQuery, which keeps it for six months, refuses it to a repeated run also when the
        manifests have been deleted.
        """
        dataset = self.destination.rpartition(".")[2]
        table = re.sub(r"[^A-Za-z0-9_]", "_", self.table[:200])
        of = hashlib.sha256(f"{self.destination} {self.extractor} {self.table}".encode()).hexdigest()[:16]
        return f"{dataset[:200]}-{table}-{self.run_id}-{self.load}-{of}"

    def encode(self) -> bytes:
        """Return the object's content."""
        return msgspec.json.encode(asdict(self))

    @classmethod
    def decode(cls, content: bytes) -> "Manifest":
        """Return the manifest in an object.

        Raises:
            msgspec.DecodeError: The object has another content.
        """
        return msgspec.json.decode(content, type=cls)


def stored(landing: Landing, prefix: str) -> Iterator[Manifest]:
    """Yield the manifests in Cloud Storage whose names have a prefix."""
    for name in landing.names(prefix):
        uri = landing.address(name)
        try:
            yield Manifest.decode(landing.read(uri))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TargetError(
                f"{uri} is not a manifest of this target: {error}; run with another run id"
            ) from error


def folder(destination: str, run_id: str, extractor: str | None) -> str:
    """Return the beginning of the names of a run's manifests; each dataset and extractor of a run has its own."""
    return f"{folder_of_run(destination, run_id)}extractor={quote(extractor or '', safe='')}/"


def folder_of_run(destination: str, run_id: str) -> str:
    """Return the beginning of the names of all manifests of a run into a dataset."""
    return f"_manifests/dataset={destination}/run_id={run_id}/"


def contents(parts: Iterable[bytes | Path]) -> Iterator[tuple[int, bytes]]:
    """Yield each row's 64-bit hash, without metadata, and its line; parts are gzip JSON lines."""
    for part in parts:
        raw = io.BytesIO(part) if isinstance(part, bytes) else part.open("rb")
        with raw, gzip.open(raw) as lines:
            for line in lines:
                row = {k: v for k, v in row_decoder.decode(line).items() if k not in NOT_CONTENT}
                yield int.from_bytes(hashlib.blake2b(row_encoder.encode(row), digest_size=8).digest()), line


@dataclass(kw_only=True)
class Candidate:
    """A staged version, as far as it is compared with manifests.

    `number` is its `_sdc_table_version`, given by the tap where it is `numbered`.
    """

    stream: str
    number: int
    numbered: bool
    rows: int
    replication: Replication
    method: str


class Earlier:
    """What earlier attempts of the run decided for one stream; this attempt's versions are compared with it in order.

    Args:
        manifests: The stream's manifests, by place.
        read: Returns a part's content by its address.
    """

    def __init__(self, manifests: list[Manifest], read: Callable[[str], bytes]) -> None:
        self.manifests = list(manifests)
        self._read = read
        self._others = list(manifests)
        self._unmatched = list(manifests)
        self._sums: dict[int, int] = {}
        self._left: Counter[int] | None = None

    @property
    def is_another_attempt(self) -> bool:
        """Return whether another attempt of the run decided anything."""
        return bool(self._others)

    def add(self, manifest: Manifest) -> None:
        """Add a manifest that this attempt created."""
        self.manifests.append(manifest)

    def add_of_another(self, manifest: Manifest) -> None:
        """Add a manifest that another process of the run created in the meantime."""
        self.manifests.append(manifest)
        self._others.append(manifest)
        self._unmatched.append(manifest)
        if self._left is not None:
            self._left.update(self._hashes(manifest))

    def decide(self, candidate: Candidate, parts: list[bytes | Path]) -> Manifest | Iterator[bytes] | None:
        """Compare a version of this attempt with what others decided.

        Args:
            candidate: The version.
            parts: Its rows, as gzip JSON lines.

        Returns:
            The manifest that has exactly these rows, in any order; else, for an incremental stream, the lines of the new
            rows; else None: all rows are to be loaded.
        """
        same = self._same(candidate, parts)
        if same is not None or candidate.method != "append-only":
            return same
        if candidate.replication is Replication.INCREMENTAL:
            return self._new(parts)
        if candidate.numbered and all(manifest.version != candidate.number for manifest in self._others):
            return None
        raise TargetError(
            f"{candidate.stream}: run {self._others[0].run_id} has loaded {sum(m.rows for m in self._others)} rows of this "
            f"stream already, and the {candidate.rows} that came now are not the same; nothing of them was loaded; run with "
            "another run id"
        )

    def _same(self, candidate: Candidate, parts: list[bytes | Path]) -> Manifest | None:
        """Return the manifest by which exactly these rows were loaded, None where there is none; each is returned once."""
        alike = (candidate.rows, candidate.method)
        as_many = [manifest for manifest in self._unmatched if (manifest.rows, manifest.method) == alike]
        if not as_many:
            return None
        wanted = sum(number for number, _ in contents(parts)) % MODULUS
        same = next((manifest for manifest in as_many if self._sum(manifest) == wanted), None)
        if same is not None:
            self._unmatched.remove(same)
        return same

    def _new(self, parts: list[bytes | Path]) -> Iterator[bytes]:
        """Yield the lines of the rows that no other attempt has; a row that came twice counts twice."""
        if self._left is None:
            self._left = Counter(chain.from_iterable(map(self._hashes, self._unmatched)))
        for number, line in contents(parts):
            if self._left[number]:
                self._left[number] -= 1
            else:
                yield line.rstrip(b"\n")

    def _sum(self, manifest: Manifest) -> int:
        if manifest.place not in self._sums:
            self._sums[manifest.place] = sum(self._hashes(manifest)) % MODULUS
        return self._sums[manifest.place]

    def _hashes(self, manifest: Manifest) -> Iterator[int]:
        return (number for number, _ in contents(self._read(part.uri) for part in manifest.parts))
