"""Names that a dbt selection which selects nothing could have meant, from dbt's manifest.json.

What a selection selects is dbt's own business (https://docs.getdbt.com/reference/node-selection/syntax); this only explains.
"""

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
        nodes = [n for part in ("nodes", "sources", "exposures") for n in manifest.get(part, {}).values()]
        models = [node["fqn"][1:] for node in nodes if node.get("resource_type") == "model"]
        buildable = {"model", "seed", "snapshot"}
        self.nodes = sorted(str(node["name"]) for node in nodes if node.get("resource_type") in buildable)
        self.tags = sorted({f"tag:{tag}" for node in nodes for tag in node.get("tags", [])})
        # Those that hold models: `staging.*` or `marts.core.*`.
        self.folders = sorted({".".join([*p[:end], "*"]) for p in models for end in range(1, len(p))})
        self._all = {str(node["name"]) for node in nodes}
        self._all |= {".".join(node["fqn"][begin:]) for node in nodes for begin in (0, 1) if node.get("fqn")}

    def matches(self, term: str) -> bool | None:
        """Return whether a single term names something; None where its method is left to dbt."""
        parts = TERM.fullmatch(term)
        method, value = (parts["method"], parts["value"]) if parts else (None, term)
        if method == "tag":
            return bool(fnmatch.filter(self.tags, f"tag:{value}"))
        if method in {None, "fqn"}:
            return any(fnmatch.fnmatch(name, value) or name.startswith(f"{value}.") for name in self._all)
        return None

    def near(self, term: str) -> list[str]:
        """Return folders that share a whole word with a term (`staging.*` for `staging.landing_dataset.*`), then similar names."""
        words = set(re.findall(r"\w+", term))
        folders = [folder for folder in self.folders if words & set(folder.split("."))]
        known = [*self.nodes, *self.tags, *self.folders]
        return [*folders, *difflib.get_close_matches(term, known, n=3, cutoff=0.5)]

    def wrong(self, selection: str) -> list[str]:
        """Return the words that match nothing."""
        return [term for term in re.split(r"[\s,]+", selection) if term and self.matches(term) is False]

    def explain(self, selection: str) -> str:
        """Return a sentence that says which words match nothing and what is near them."""
        wrong = self.wrong(selection)
        near = list(dict.fromkeys(name for term in wrong for name in self.near(term)))[:MOST]
        return (
            (f"{', '.join(map(repr, wrong))} matches nothing" if wrong else f"{selection!r} selects nothing")
            + (f"; near it: {', '.join(near)}" if near else "")
            + f"; tags: {', '.join(self.tags)}; folders: {', '.join(self.folders)}"
            + f"; models, seeds and snapshots: {', '.join(self.nodes)}"
        )
