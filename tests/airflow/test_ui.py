"""The UI in a real browser, as a user goes through it: log-in, form, run, graph, log, report. `make e2e-ui` runs it.

What was seen is left in results/e2e-ui as pictures.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.airflow.running import DAG, Airflow, running
from tests.e2e.conftest import Project
from tests.tiny import ROOT

pytestmark = pytest.mark.ui
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS, RUN_MS = 60_000, 900_000
PICTURES = ROOT / "results" / "e2e-ui"
SECTIONS = {
    "Code": {"Revision": "main"},
    "Data": {"Source": "builtin:digits", "Source domain": "builtin:glyphs"},
    "Plan": {"Target": "1", "Augmented, at most": "2", "Synthetic, at most": "2"},
    "Generator": {"Generator": "vae", "Generator's updates": "20"},
    "Proof": {"Classifier's updates": "20", "Training seeds": "2"},
    "Promotion": {"Ask before promoting": "off"},
}


@dataclass(frozen=True)
class Browser:
    """A page of a browser that is logged in, and the hosts that it has asked for anything."""

    page: Page
    airflow: Airflow
    hosts: set[str] = field(default_factory=set)

    def asked(self, url: str) -> None:
        """Notes the host of an address that is not the page's own data."""
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(str(parts.hostname))

    def visit(self, path: str) -> None:
        self.page.goto(f"http://127.0.0.1:{self.airflow.port}{path}")

    def picture(self, name: str) -> None:
        """Saves what is seen, once the page has nothing more to load."""
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    def open_form(self) -> Locator:
        """Opens the DAG's page and its trigger form."""
        self.visit("/dags")
        self.page.get_by_role("link", name=DAG, exact=True).click()
        button = self.page.get_by_role("button", name="Trigger Dag")
        expect(button).to_have_count(1)  # the list of all DAGs is gone
        button.click()
        form = self.page.get_by_role("dialog")
        expect(form.get_by_role("heading", name=f"Trigger Dag - {DAG}")).to_be_visible()
        return form


def section(form: Locator, name: str) -> Locator:
    """A section of the form, opened."""
    form.get_by_role("button", name=name, exact=True).click()
    return form.get_by_role("region", name=name, exact=True)


def shown(part: Locator, title: str) -> Locator:
    """The group of a field, which begins with its title and the star of a field that must not be empty."""
    return part.get_by_role("group").filter(has_text=re.compile(rf"^{re.escape(title)}\s*\*"))


@pytest.fixture(scope="session")
def program() -> str:
    """The browser's program; asked for first, so that nothing is run in vain where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on PATH; on Debian: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser(program: str, finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    shutil.rmtree(PICTURES, ignore_errors=True)
    project = finished.clone(tmp_path_factory.mktemp("ui") / "counterweight")
    with running(project) as airflow, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        page = chromium.new_page(viewport={"width": 1500, "height": 1300}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        browser = Browser(page, airflow)
        page.on("request", lambda request: browser.asked(request.url))
        browser.visit("/")
        browser.picture("1-log-in")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(airflow.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Dags").first).to_be_visible()
        browser.picture("2-home")
        yield browser
        chromium.close()


def test_the_form_shows_its_sections_and_what_params_yaml_says(browser: Browser) -> None:
    form = browser.open_form()
    browser.picture("3-form")
    for name, fields in SECTIONS.items():
        part = section(form, name)
        for title, value in fields.items():
            group = shown(part, title)
            expect(group).to_be_visible()
            if title == "Generator":
                expect(group).to_contain_text(value)
            elif value == "off":
                expect(group.get_by_role("checkbox")).not_to_be_checked()
            else:
                expect(group.get_by_role("textbox").or_(group.get_by_role("spinbutton"))).to_have_value(value)
        browser.picture(f"4-form-{name.lower()}")


def test_a_wrong_value_is_refused(browser: Browser) -> None:
    form = browser.open_form()
    form.get_by_text(f"Unpause {DAG} on trigger").click()  # or the night's run begins although this one is refused
    seeds = section(form, "Proof").get_by_role("spinbutton", name="Training seeds")
    button = form.get_by_role("button", name="Trigger", exact=True)
    seeds.fill("0")
    seeds.blur()
    expect(seeds).to_have_value("1")
    seeds.fill("")
    expect(form.get_by_text("This field is required")).to_be_visible()
    expect(button).to_be_disabled()
    browser.picture("5-value-missing")
    seeds.fill("2.5")
    seeds.blur()
    button.click()
    expect(form.get_by_text("400 Bad Request")).to_be_visible()
    expect(form.get_by_text("Invalid input for param train_classifier__seeds: 2.5 is not of type")).to_be_visible()
    browser.picture("6-value-refused")
    assert browser.airflow.runs() == []


@pytest.fixture(scope="module")
def run(browser: Browser) -> str:
    """A run triggered with two values changed, and done."""
    form = browser.open_form()
    seeds = section(form, "Proof").get_by_role("spinbutton", name="Training seeds")
    seeds.fill("1")
    seeds.blur()
    shown(section(form, "Promotion"), "Ask before promoting").get_by_text("Ask before promoting").click()
    browser.picture("7-changed")
    form.get_by_role("button", name="Trigger", exact=True).click()
    browser.page.wait_for_url(re.compile(rf"/dags/{DAG}/runs/manual__"))
    browser.picture("8-triggered")
    run = next(str(run["dag_run_id"]) for run in browser.airflow.runs() if run["run_type"] == "manual")
    done = browser.page.get_by_role("row").filter(has_text=re.compile("success", re.IGNORECASE))
    expect(done).to_have_count(len(browser.airflow.tasks(run)), timeout=RUN_MS)
    browser.picture("9-done")
    return run


def test_what_was_changed_in_the_form_is_what_the_run_had(browser: Browser, run: str) -> None:
    conf = next(found["conf"] for found in browser.airflow.runs() if found["dag_run_id"] == run)
    assert conf == browser.airflow.form() | {"train_classifier__seeds": 1, "approval": True}
    assert set(browser.airflow.states(run).values()) == {"success"}


def test_the_graph_shows_every_task_done(browser: Browser, run: str) -> None:
    browser.visit(f"/dags/{DAG}/runs/{quote(run)}")
    browser.page.get_by_role("button", name="Show Graph").click()
    for name in browser.airflow.tasks(run):
        node = browser.page.get_by_test_id(f"rf__node-{name}")
        expect(node).to_contain_text(name)
        expect(node).to_contain_text("success", ignore_case=True)
    browser.picture("10-graph")


def test_a_task_s_log_and_result_are_shown(browser: Browser, run: str) -> None:
    browser.visit(f"/dags/{DAG}/runs/{quote(run)}/tasks/train_baseline")
    expect(browser.page.get_by_text(re.compile("train_baseline: ran"))).to_be_visible()
    browser.picture("11-log")
    browser.page.get_by_role("link", name="Storage").click()
    browser.page.get_by_role("link", name="XCom").click()
    browser.page.get_by_role("button", name="Expand all extra JSON").click()
    expect(browser.page.get_by_role("row").filter(has_text="return_value")).to_contain_text("stage_seconds")
    browser.picture("12-result")


def test_the_report_opens_from_its_task(browser: Browser, run: str) -> None:
    browser.visit(f"/dags/{DAG}/runs/{quote(run)}/tasks/report/details")
    link = browser.page.get_by_role("link", name="Report", exact=True)
    expect(link).to_be_visible()
    browser.picture("13-report-link")
    browser.visit(str(link.get_attribute("href")))
    verdict = browser.airflow.result(run, "evaluate")["metrics"]["verdict"]
    expect(browser.page.get_by_text(re.compile(verdict, re.IGNORECASE)).first).to_be_visible()
    browser.picture("14-report")


def test_the_browser_asked_nobody_but_airflow(browser: Browser, run: str) -> None:
    assert browser.hosts == {"127.0.0.1"}
