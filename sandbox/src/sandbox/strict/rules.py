"""Roles, accounts and limits: `rules.json`, whose accounts tests may change at run time.

Roles and their permissions: https://cloud.google.com/bigquery/docs/access-control and
https://cloud.google.com/storage/docs/access-control/iam-roles. Only permissions of methods that the sandbox has are listed.
Limits: https://cloud.google.com/bigquery/quotas and https://cloud.google.com/storage/quotas.
"""

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

FORBIDDEN = 403
ALL = "*"


class Refused(Exception):  # noqa: N818 (what the service answers)
    """The service's refusal of a request.

    Args:
        status: HTTP's.
        reason: Of errors[0], as Google's error tables name it.
        message: As Google words it, as far as it is documented.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def body(self) -> dict[str, Any]:
        """Return the JSON of the answer."""
        error = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [error]}}


def denied(message: str) -> Refused:
    """Return BigQuery's answer to an account that lacks a permission."""
    return Refused(FORBIDDEN, "accessDenied", f"Access Denied: {message}")


def invalid(message: str) -> Refused:
    """Return the answer to what is too large or malformed."""
    return Refused(400, "invalid", message)


@dataclass(frozen=True)
class Account:
    """Roles on the project, on datasets and on buckets; a dataset's or bucket's own name goes before `*`."""

    name: str
    project: tuple[str, ...] = ()
    datasets: dict[str, list[str]] = field(default_factory=dict)
    buckets: dict[str, list[str]] = field(default_factory=dict)

    @property
    def email(self) -> str:
        """The account's address."""
        return f"{self.name}@local-project.iam.gserviceaccount.com"


class Rules:
    """The roles, the accounts that hold them, and the limits."""

    def __init__(self) -> None:
        rules = json.loads((files("sandbox.strict") / "rules.json").read_text("utf-8"))
        self.roles: dict[str, list[str]] = rules["roles"]
        self.datasets: list[str] = rules["datasets"]
        self.limits: dict[str, float] = rules["limits"]
        self.anonymous: str = rules["anonymous"]
        self.accounts: dict[str, Account] = {}
        self.add_accounts(rules["accounts"])

    def add_accounts(self, accounts: dict[str, Any]) -> None:
        """Add accounts, or replace those of the same name.

        Raises:
            ValueError: A role or a key is unknown.
        """
        added = {}
        for name, bindings in accounts.items():
            if unknown := bindings.keys() - {"project", "datasets", "buckets"}:
                raise ValueError(f"account {name}: unknown key {', '.join(sorted(unknown))}")
            account = Account(
                name,
                tuple(bindings.get("project", ())),
                bindings.get("datasets", {}),
                bindings.get("buckets", {}),
            )
            held = [account.project, *account.datasets.values(), *account.buckets.values()]
            if unknown := {role for roles in held for role in roles} - self.roles.keys():
                raise ValueError(f"account {name}: role {', '.join(sorted(unknown))} is not in rules.json")
            added[name] = account
        self.accounts |= added

    def account(self, authorization: str | None) -> Account:
        """Return the account whose token a request carries.

        Raises:
            Refused: No account has that token.
        """
        token = (authorization or "").removeprefix("Bearer ") or self.anonymous
        if token not in self.accounts:
            raise Refused(
                401, "authError", f"Invalid Credentials: the sandbox has no account of token {token!r}"
            )
        return self.accounts[token]

    def _holds(self, roles: list[str] | tuple[str, ...], permission: str) -> bool:
        return any({permission, ALL} & set(self.roles[role]) for role in roles)

    def on_project(self, account: Account, permission: str) -> bool:
        """Return whether a role on the project grants it."""
        return self._holds(account.project, permission)

    def on_dataset(self, account: Account, permission: str, dataset: str) -> bool:
        """Return whether a role on the project or on the dataset grants it."""
        return self.on_project(account, permission) or self._holds(_of(account.datasets, dataset), permission)

    def on_bucket(self, account: Account, permission: str, bucket: str) -> bool:
        """Return whether a role on the project or on the bucket grants it."""
        return self.on_project(account, permission) or self._holds(_of(account.buckets, bucket), permission)


def _of(bindings: dict[str, list[str]], name: str) -> list[str]:
    return bindings.get(name, bindings.get(ALL, []))


class Rate:
    """Counts events per key, for limits within a time."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = defaultdict(deque)

    def full(self, key: str, most: float, seconds: float, now: float) -> bool:
        """Return whether `most` events have happened in the last `seconds`."""
        seen = self._seen[key]
        while seen and seen[0] <= now - seconds:
            seen.popleft()
        return len(seen) >= most

    def add(self, key: str, now: float) -> None:
        """Count an event."""
        self._seen[key].append(now)
