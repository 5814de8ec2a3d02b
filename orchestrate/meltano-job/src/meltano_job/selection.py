"""Names that a dbt selection which selects nothing could have meant, from dbt's manifest.json.

What a selection selects is dbt's own business (https://docs.getdbt.com/reference/node-selection/syntax); this only explains.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from typing import Any

# A method before the colon, a graph operator around a term.
TERM = re.compile(r"@?(?:\d*\+)?(?:(?P<method>[\w.]+):)?(?P<value>.*?)(?:\+\d*)?")
MOST = 8


class Names:
    """What a project's selections can name."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        nodes = [
            node for part in ("nodes", "sources", "exposures") for node in manifest.get(part, {}).values()
        ]
        self.nodes = sorted(
            str(node["name"]) for node in nodes if node.get("resource_type") in {"model", "seed", "snapshot"}
        )
        self._all = {str(node["name"]) for node in nodes}
        self.tags = sorted({str(tag) for node in nodes for tag in node.get("tags", [])})
        self._paths = {".".join(node["fqn"][begin:]) for node in nodes for begin in (0, 1) if node.get("fqn")}
        # Folders that hold models: `staging.*` or `marts.core`.
        self.folders = sorted(
            {
                ".".join(node["fqn"][1:end])
                for node in nodes
                if node.get("resource_type") == "model"
                for end in range(2, len(node["fqn"]))
            }
        )

    def matches(self, term: str) -> bool | None:
        """Return whether a single term names something; None where its method is left to dbt."""
        parts = TERM.fullmatch(term)
        method, value = (parts["method"], parts["value"]) if parts else (None, term)
        if method == "tag":
            return bool(fnmatch.filter(self.tags, value))
        if method in {None, "fqn"}:
            return any(
                fnmatch.fnmatch(name, value) or name.startswith(f"{value}.")
                for name in self._all | self._paths
            )
        return None

    def explain(self, selection: str) -> str:
        """Return a sentence that says which words match nothing and what is near them."""
        terms = [term for word in selection.split() for term in word.split(",") if term]
        wrong = [term for term in terms if self.matches(term) is False]
        known = [
            *self.nodes,
            *(f"tag:{tag}" for tag in self.tags),
            *(f"{folder}.*" for folder in self.folders),
        ]
        near = list(
            dict.fromkeys(
                name
                for term in wrong
                for name in (
                    *self._same_words(term),
                    *difflib.get_close_matches(term, known, n=3, cutoff=0.5),
                )
            )
        )[:MOST]
        text = f"{', '.join(map(repr, wrong))} matches nothing" if wrong else f"{selection!r} selects nothing"
        if near:
            text += f"; near it: {', '.join(near)}"
        return (
            f"{text}; tags: {', '.join(f'tag:{tag}' for tag in self.tags)}; "
            f"folders: {', '.join(f'{folder}.*' for folder in self.folders)}; models, seeds and snapshots: {', '.join(self.nodes)}"
        )

    def _same_words(self, term: str) -> list[str]:
        """Return folders that share a whole word with a term: `staging.*` for `staging.landing_dataset.*`."""
        words = set(re.findall(r"[A-Za-z0-9_]+", term))
        return [f"{folder}.*" for folder in self.folders if words & set(folder.split("."))]
