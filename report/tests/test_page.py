"""The page in a real browser: what it draws and says, for everyone, whatever the marts hold."""

import re
from collections.abc import Callable

import made_up_marts
import pytest
from axe_playwright_python.sync_playwright import Axe
from opened_page import Opener, html
from playwright.sync_api import Locator, Page

# One browser where tests run side by side.
pytestmark = pytest.mark.xdist_group("report-page")
CHARTS = ("episodes", "characters", "statuses", "seasons", "locations", "pairs")
HOSTILE = '"><img src=x onerror="hacked = 1"></script><script>hacked = 1</script>{{ 7 * 7 }}&amp;\\'
READABLE = 4.5


def marks(page: Page, chart: str) -> Locator:
    """The drawn bars or squares of a chart."""
    return page.locator(f"#chart-{chart} g.role-mark.mark-rect > path")


def rows(page: Page, table: str) -> list[list[str]]:
    """The visible rows of a table, cell by cell."""
    found = page.locator(f"{table} tbody tr").filter(visible=True)
    return [row.locator("th, td").all_inner_texts() for row in found.all()]


def width(page: Page) -> int:
    """How wide the page's content is, in pixels."""
    found: int = page.evaluate("document.documentElement.scrollWidth")
    return found


def test_every_chart_draws_its_rows(opened: Opener, screenshot: Callable[[Page, str], None]) -> None:
    """Each chart has a mark for each of its figures, and the same figures as a table."""
    page, marts = opened(), made_up_marts.marts()
    by_species = [row for row in marts["statuses"] if row["breakdown"] == "species"]
    assert {chart: marks(page, chart).count() for chart in CHARTS} == {
        "episodes": 2 * len(marts["episodes"]),
        "characters": len(marts["characters"]),
        "statuses": len(by_species),
        "seasons": len(marts["seasons"]),
        "locations": 3 * len(marts["locations"]),
        "pairs": 2 * len(marts["pairs"]),
    }
    page.locator("#characters summary").click()
    assert rows(page, "#characters table") == [
        [row["character_name"], row["species"], row["status"], str(row["episode_count"])]
        for row in marts["characters"]
    ]
    screenshot(page, "light")


def test_the_run_is_shown_for_each_entity(opened: Opener) -> None:
    """Counts, seconds, drift and age stand in one row; where a count differs it comes first."""
    page = opened()
    age = page.locator("#run time").first.get_attribute("data-age")
    assert age is not None
    assert re.fullmatch(r"\d+ days ago", age)
    assert rows(page, "#run table.cards")[0] == [
        *("characters", "826", "826", "826", "agree", "0", "1.50", "2026-03-14 09:21 UTC")
    ]
    assert page.locator(".verdict").inner_text().endswith("Verdict: passed (12 checks)")
    assert page.locator("#source").inner_text() == "Data: made-up universe of a test"
    page = opened("unequal")
    assert page.locator(".verdict").inner_text().split("\n")[1:] == [
        "Counts differ: episodes",
        "new fields in episodes",
    ]
    assert rows(page, "#run table.cards")[1][4] == "differ"


def test_a_failed_verdict_comes_first_with_its_reasons(opened: Opener) -> None:
    """No green while the source collapses: the marts are said to be those from before, and each check that failed why."""
    page = opened("collapsed")
    assert (
        "Verdict: fail. The marts are those of the last build that passed"
        in page.locator(".verdict.bad").inner_text()
    )
    assert page.locator(".checks li").all_inner_texts() == [
        "fail characters: drop: expected 826, got 0; retract the version",
        "warn characters: drift: expected none, got 3",
    ]
    assert page.locator(".good").filter(has_text="✓").count() == 0


def test_a_control_of_a_chart_works_with_the_keyboard(opened: Opener) -> None:
    """An arrow key on the season's control leaves that season's bars; a kept choice is drawn again, with its note."""
    page = opened()
    page.locator("#episodes select").focus()
    page.keyboard.press("ArrowDown")
    first = sum(row["season_number"] == 1 for row in made_up_marts.marts()["episodes"])
    page.wait_for_function(
        "count => document.querySelectorAll('#chart-episodes g.role-mark.mark-rect > path').length === count",
        arg=2 * first,
    )
    names = page.locator("#chart-statuses .role-axis-label text")
    assert "Humanoid" in names.all_text_contents()
    note = page.locator("#statuses p[data-when='origin']")
    assert not note.is_visible()
    page.locator("#statuses select").first.select_option("origin")
    page.wait_for_function(
        "document.getElementById('chart-statuses').textContent.includes('Citadel of Ricks')"
    )
    assert "Humanoid" not in names.all_text_contents()
    assert note.is_visible()


def test_a_list_shows_what_its_filters_leave(opened: Opener) -> None:
    """Filters of the findings and the changes combine; the count says how many there are; a button shows the rest."""
    page = opened()
    count, more = page.locator("[data-count=findings]"), page.locator("[data-more=findings]")
    assert (len(rows(page, "#list-findings")), count.inner_text()) == (20, "20 of 87")
    page.get_by_label("Severity").select_option("warning")
    assert {row[2] for row in rows(page, "#list-findings")} == {"warning"}
    assert count.inner_text() == "20 of 32"
    more.click()
    assert (len(rows(page, "#list-findings")), count.inner_text(), more.is_visible()) == (32, "32", False)
    page.locator("#findings").get_by_role("combobox", name="Rule").select_option("asymmetric_appearance")
    assert [row[0] for row in rows(page, "#list-findings")] == ["Beth Smith #3"]
    page.locator("#findings").get_by_label("Entity").select_option("locations")
    assert (rows(page, "#list-findings"), count.inner_text()) == ([], "0")
    page.locator("#changes").get_by_role("combobox", name="Change").select_option("removed")
    assert [row[0] for row in rows(page, "#list-changes")] == ["Earth (Replacement Dimension) #20"]


def test_everything_is_reached_with_the_tab_key(opened: Opener) -> None:
    """The first key goes to the content, and then each link, control, list and figure's table comes by."""
    page = opened()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**#content")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.locator("#seasons summary").focus()
    page.keyboard.press("Enter")
    page.locator("#seasons table").wait_for()
    wanted = page.locator("a, select, summary, button, [tabindex='0']").filter(visible=True).count()
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    page.locator("#seasons summary").click()
    page.evaluate("document.activeElement.blur(); window.seen = new Set()")
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        page.evaluate("document.activeElement !== document.body && seen.add(document.activeElement)")
    assert page.evaluate("seen.size") == wanted


@pytest.mark.parametrize(
    ("world", "scheme", "size"),
    [
        ("sample", "light", 1280),
        pytest.param("sample", "dark", 390, marks=pytest.mark.slow),
        ("empty", "light", 1280),
    ],
)
def test_axe_finds_nothing(opened: Opener, world: str, scheme: str, size: int) -> None:
    """Names, roles, order of headings, contrasts: axe-core's rules hold, all tables open."""
    page = opened(world, scheme=scheme, width=size)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(
    "world",
    [pytest.param(("marts",), marks=pytest.mark.slow), ("hostile", "x" * 1000), ("empty",)],
    ids=lambda w: w[0],
)
def test_a_phone_never_scrolls_sideways(
    opened: Opener, screenshot: Callable[[Page, str], None], world: tuple[str, ...]
) -> None:
    """The page is as wide as the phone, with names of any length; charts are within their frames."""
    page = opened(*world, width=390)
    if world == ("marts",):
        screenshot(page, "phone")
    for size in (390, 320):
        page.set_viewport_size({"width": size, "height": 700})
        assert width(page) <= size
        page.wait_for_function(
            "[...document.querySelectorAll('.chart svg')]"
            ".every(svg => svg.getBoundingClientRect().right < svg.closest('figure').getBoundingClientRect().right)"
        )


def test_the_dark_page_is_dark_charts_too(opened: Opener, screenshot: Callable[[Page, str], None]) -> None:
    """Ground and bars follow the system's choice; changing it needs no reload."""
    page = opened(scheme="dark")

    def colours() -> list[str]:
        found: list[str] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('#chart-seasons g.role-mark.mark-rect > path')).fill]"
        )
        return found

    assert colours() == ["rgb(17, 22, 28)", "rgb(108, 177, 205)"]
    screenshot(page, "dark")
    page.emulate_media(color_scheme="light")
    assert colours() == ["rgb(247, 246, 243)", "rgb(43, 108, 134)"]


def test_paper_gets_no_controls_and_no_dark_ground(opened: Opener) -> None:
    """Printed from a dark screen it is dark on white, without what needs a mouse, and its charts fit."""
    page = opened(scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 1000})
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 37, 48)"
    for hidden in ("nav", ".controls", "summary", "button"):
        assert page.locator(hidden).filter(visible=True).count() == 0, hidden
    assert width(page) <= 700
    paper = page.pdf(format="A4", print_background=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8


def test_without_scripts_there_is_no_control_that_does_nothing(opened: Opener) -> None:
    """A chart says where its figures are, and every row of a list is there."""
    page = opened(scripts=False)
    assert page.locator(".controls").filter(visible=True).count() == 0
    assert page.locator(".controls").count() > 2
    said = page.locator("noscript").all_inner_texts()
    assert said == ["The chart needs scripts; its figures are in the table below."] * 6
    assert page.locator("#list-changes tbody tr").filter(visible=True).count() == 4


def test_text_from_the_api_is_text(opened: Opener) -> None:
    """Names that are HTML, script or template do nothing but stand there, in tables, controls and tooltips."""
    page = opened("hostile", HOSTILE)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert HOSTILE in page.locator("#list-changes tbody th").first.inner_text()
    marks(page, "characters").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert HOSTILE in page.locator("#vg-tooltip-element").inner_text()
    assert page.locator("#vg-tooltip-element img").count() == 0


def test_the_pages_policy_lets_no_other_script_run(opened: Opener) -> None:
    """Should a script get in all the same, the browser refuses it."""
    page = opened("empty")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked = 1'}))"
    )
    assert page.evaluate("typeof hacked") == "undefined"
    assert len(opened.problems) == 1
    assert "Content Security Policy" in opened.problems.pop()


def test_records_without_names_are_drawn(opened: Opener) -> None:
    """An empty name is shown as one, and distinguished from others by its number."""
    page = opened("hostile", "")
    assert "(no name) #1" in page.locator("#chart-characters").inner_text()
    assert marks(page, "characters").count() == len(made_up_marts.marts()["characters"])


def test_empty_marts_are_said_to_be_empty(opened: Opener, screenshot: Callable[[Page, str], None]) -> None:
    """Before the first load every part says that it has nothing."""
    page = opened("empty")
    assert page.locator(".verdict").inner_text().endswith("Nothing is loaded yet")
    assert page.locator(".nothing").all_inner_texts() == [
        *["Nothing to draw."] * len(CHARTS),
        "There is no load to compare.",
        "No rule found anything.",
    ]
    assert page.locator("svg").count() == 0
    screenshot(page, "empty")


def test_a_single_record_is_a_page(opened: Opener) -> None:
    """One character in one episode at one place: every chart has its mark, and nothing is said to be left out."""
    page = opened("single")
    assert all(marks(page, chart).count() >= 1 for chart in CHARTS)
    assert "Not drawn" not in page.locator("#charts").inner_text()
    assert "Rick Sanchez appears most" in page.locator("#characters").inner_text()
    assert page.locator(".verdict").inner_text().endswith("(1 check)")
    assert "S05E10" in (page.locator("#chart-episodes svg").text_content() or "")
    for mark in marks(page, "episodes").all():
        assert (box := mark.bounding_box())
        assert box["width"] < 100


def test_long_text_is_cut() -> None:
    """Names of 100,000 characters make the page no larger than names of 200."""
    assert len(html("hostile", "x" * 100_000)) <= len(html("hostile", "x" * 1000))
    assert len(html("hostile", "x" * 1000)) < 2_000_000


def test_legends_and_axes_of_counts_are_whole_numbers(opened: Opener) -> None:
    """Where few episodes are shared and few characters counted there is no half of one."""
    page = opened("few")
    page.locator("#statuses").get_by_label("Show").select_option("count")
    for chart in ("pairs", "statuses", "seasons", "episodes", "characters", "locations"):
        shown = page.locator(f"#chart-{chart} g:is(.role-axis-label, .role-legend-label) text")
        labels = shown.all_text_contents()
        numbers = [text for text in labels if re.fullmatch(r"[\d.,]+", text)]
        assert numbers
        assert not [text for text in numbers if "." in text], (chart, numbers)
