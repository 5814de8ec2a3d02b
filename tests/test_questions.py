"""The questions of docs/questions.md, asked as they stand there, against plain Python over the API's records."""

import re
from collections import Counter
from typing import Any

import pytest
from marts_in_python import Marts, code, number
from test_marts import newest_loads, served
from testkit.project_files import ROOT
from testkit.whole_pipeline import BuiltPipeline

PAGE = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
QUESTIONS = dict(re.findall(r"^## (.*?)\n\n```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def top(counted: Counter[Any], limit: int | None = None) -> list[tuple[Any, int]]:
    """Return the greatest first, ties by key."""
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:limit]


def answers(marts: Marts) -> dict[str, list[tuple[Any, ...]]]:
    """Return the answer to each question."""
    links = marts.seen_by_character | marts.seen_by_episode
    seasons: dict[int, Counter[int]] = {}
    for character, episode in links:
        season = code(marts.episodes[episode]["episode"], 1) if episode in marts.episodes else None
        if season is not None:
            seasons.setdefault(season, Counter())[character] += 1
    dead = Counter(c["species"] or "unknown" for c in marts.characters.values() if c["status"] == "Dead")
    citadel = [i for i, x in marts.locations.items() if x["name"] == "Citadel of Ricks"]
    alive = {i for i, c in marts.characters.items() if c["status"] == "Alive"}
    pairs = Counter(
        {
            (r["first_character_id"], r["second_character_id"]): r["shared_episode_count"]
            for r in marts.rpt_character_pairs()
        }
    )
    new = Counter({r["episode_id"]: r["first_appearance_count"] for r in marts.rpt_episode_summary()})
    away = [
        c
        for c in marts.characters.values()
        if (home := number(c["origin"]["url"])) is not None
        and (place := number(c["location"]["url"])) is not None
        and home != place
    ]
    return {
        "Who appears in the most episodes?": top(Counter(character for character, _ in links), 10),
        "Who leads each season?": [(s, *top(found, 1)[0]) for s, found in sorted(seasons.items())],
        "Which species has the most dead?": top(dead, 10),
        "How many live at the Citadel of Ricks?": [
            (i, len(marts.residents[i]), len(marts.residents[i] & alive)) for i in citadel
        ],
        "Who never appears?": [(i,) for i in sorted(marts.characters.keys() - {c for c, _ in links})],
        "Who appears together most often?": [(*pair, count) for pair, count in top(pairs, 10)],
        "Which episodes introduce the most characters?": top(new, 10),
        "Which places are empty?": [(i,) for i in sorted(marts.locations) if not marts.residents[i]],
        "How many characters are far from home?": [(len(away),)],
        "How much of each season's cast is new?": sorted(
            (r["season_number"], r["first_appearance_count"], r["character_count"])
            for r in marts.rpt_season_summary()
        ),
    }


@pytest.fixture(scope="module")
def in_python(built_pipeline: BuiltPipeline) -> dict[str, list[tuple[Any, ...]]]:
    """The answers by plain Python."""
    return answers(Marts(served(built_pipeline.sandbox), newest_loads(built_pipeline.sandbox)))


def test_every_question_has_an_answer_in_python(in_python: dict[str, list[tuple[Any, ...]]]) -> None:
    """A question that is added is compared too."""
    assert set(QUESTIONS) == set(in_python)
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_what_plain_python_says(
    built_pipeline: BuiltPipeline, in_python: dict[str, list[tuple[Any, ...]]], question: str
) -> None:
    """The query as it stands on the page gives the same rows in the same order."""
    assert built_pipeline.sandbox.ask(QUESTIONS[question]) == in_python[question]
