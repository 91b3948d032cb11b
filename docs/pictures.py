"""Takes the docs' pictures from what runs: ``make pictures ON=compose`` or ``ON=kind``, after a green run of the pipeline.

On the way it does in the browser what the docs tell a person to do: unpauses the smoke test, triggers it with the
button, and waits until it is green. Chromium and its driver come from the system (Debian: chromium chromium-driver).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.wait import WebDriverWait

HERE = Path(__file__).parent
SMOKE = "00_smoke_test_stack"
QUIET = "--disable-background-networking --disable-component-update --disable-sync --disable-quic --no-first-run"


@dataclass(frozen=True)
class Place:
    """Where the pages are, and the logins: user, password."""

    airflow: str
    console: str
    airflow_login: tuple[str, str]
    minio_login: tuple[str, str]
    pictures: tuple[str, str]


def compose() -> Place:
    logins = ("airflow", "airflow"), ("minioadmin", "minioadmin")
    return Place("http://localhost:8080", "http://localhost:9001", *logins, ("airflow-grid.png", "minio-lake.png"))


def kind() -> Place:
    from kind.airflow import ADMIN, USER, secret
    from kind.commands import Cluster
    from kind.up import places

    cluster = Cluster.from_env()
    root = (secret(cluster, "fti-minio-auth", "root-user"), secret(cluster, "fti-minio-auth", "root-password"))
    logins = (USER, secret(cluster, ADMIN, "password")), root
    files = ("kubernetes-airflow.png", "kubernetes-lake.png")
    where = {place.what: place.where for place in places(cluster)}
    return Place(where["Airflow"], where["MinIO console"], *logins, files)


def main() -> int:
    place = {"compose": compose, "kind": kind}[sys.argv[1]]()
    if not shutil.which("chromedriver"):
        print("There is no chromedriver on the PATH: on Debian, apt install chromium chromium-driver.", file=sys.stderr)
        return 2
    with browser() as page:
        log_in_to_airflow(page, place)
        run_smoke_test(page, place)
        picture_of_pipeline(page, place)
        picture_of_lake(page, place)
    return 0


def log_in_to_airflow(page: WebDriver, place: Place) -> None:
    page.get(place.airflow)
    user, password = place.airflow_login
    there(page, "[name=username]").send_keys(user)
    there(page, "[name=password]").send_keys(password)
    there(page, "[type=submit]").click()
    WebDriverWait(page, 30).until(expect.url_to_be(f"{place.airflow}/"))


def run_smoke_test(page: WebDriver, place: Place) -> None:
    page.get(f"{place.airflow}/dags/{SMOKE}")
    switch = there(page, "[data-testid=toggle-pause]")
    if switch.get_attribute("data-state") == "unchecked":
        switch.click()
    there(page, "[data-testid=trigger-dag-button]").click()
    there(page, "[data-testid=trigger-dag-submit]").click()
    page.get(f"{place.airflow}/dags/{SMOKE}/runs")
    WebDriverWait(page, 90).until(expect.text_to_be_present_in_element((By.TAG_NAME, "table"), "Success"))
    print(f"{SMOKE}: unpaused and triggered in the browser, green")


def picture_of_pipeline(page: WebDriver, place: Place) -> None:
    page.get(f"{place.airflow}/dags/feature_pipeline")
    settle(page)
    save(page, place.pictures[0])


def picture_of_lake(page: WebDriver, place: Place) -> None:
    page.get(f"{place.console}/login")
    user, password = place.minio_login
    there(page, "#accessKey").send_keys(user)
    there(page, "#secretKey").send_keys(password)
    there(page, "#do-login").click()
    WebDriverWait(page, 30).until(expect.url_contains("/browser"))
    page.get(f"{place.console}/browser/lake")
    settle(page)
    licence = page.find_element(By.XPATH, "//button[contains(., 'Acknowledge')]")  # shown at the first visit
    page.execute_script("arguments[0].click()", licence)
    time.sleep(1)
    save(page, place.pictures[1])


def settle(page: WebDriver) -> None:
    """Both are single-page applications, which draw as their answers come and say nothing at the end."""
    WebDriverWait(page, 30).until(lambda _: page.execute_script("return document.readyState") == "complete")
    time.sleep(5)


def there(page: WebDriver, selector: str) -> WebElement:
    return WebDriverWait(page, 30).until(expect.element_to_be_clickable((By.CSS_SELECTOR, selector)))


def save(page: WebDriver, name: str) -> None:
    page.save_screenshot(str(HERE / name))
    print(f"docs/{name}")


@contextmanager
def browser() -> Iterator[WebDriver]:
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1360,860", *QUIET.split()):
        options.add_argument(argument)
    page = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield page
    finally:
        page.quit()


if __name__ == "__main__":
    sys.exit(main())
