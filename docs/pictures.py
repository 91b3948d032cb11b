"""Takes the docs' pictures from the running stack: ``make pictures``, after a green run of ``feature_pipeline``.

On the way it does in the browser what the docs tell a person to do: unpauses the smoke test, triggers it with the
button, and waits until it is green. Chromium and its driver come from the system (Debian: chromium chromium-driver).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
AIRFLOW, CONSOLE = "http://localhost:8080", "http://localhost:9001"
SMOKE = "00_smoke_test_stack"
QUIET = "--disable-background-networking --disable-component-update --disable-sync --disable-quic --no-first-run"


def main() -> int:
    if not shutil.which("chromedriver"):
        print("There is no chromedriver on the PATH: on Debian, apt install chromium chromium-driver.", file=sys.stderr)
        return 2
    with browser() as page:
        log_in_to_airflow(page)
        run_smoke_test(page)
        picture_of_pipeline(page)
        picture_of_lake(page)
    return 0


def log_in_to_airflow(page: WebDriver) -> None:
    page.get(AIRFLOW)
    there(page, "[name=username]").send_keys("airflow")
    there(page, "[name=password]").send_keys("airflow")
    there(page, "[type=submit]").click()
    WebDriverWait(page, 30).until(expect.url_to_be(f"{AIRFLOW}/"))


def run_smoke_test(page: WebDriver) -> None:
    page.get(f"{AIRFLOW}/dags/{SMOKE}")
    switch = there(page, "[data-testid=toggle-pause]")
    if switch.get_attribute("data-state") == "unchecked":
        switch.click()
    there(page, "[data-testid=trigger-dag-button]").click()
    there(page, "[data-testid=trigger-dag-submit]").click()
    page.get(f"{AIRFLOW}/dags/{SMOKE}/runs")
    WebDriverWait(page, 90).until(expect.text_to_be_present_in_element((By.TAG_NAME, "table"), "Success"))
    print(f"{SMOKE}: unpaused and triggered in the browser, green")


def picture_of_pipeline(page: WebDriver) -> None:
    page.get(f"{AIRFLOW}/dags/feature_pipeline")
    settle(page)
    save(page, "airflow-grid.png")


def picture_of_lake(page: WebDriver) -> None:
    page.get(f"{CONSOLE}/login")
    there(page, "#accessKey").send_keys("minioadmin")
    there(page, "#secretKey").send_keys("minioadmin")
    there(page, "#do-login").click()
    WebDriverWait(page, 30).until(expect.url_contains("/browser"))
    page.get(f"{CONSOLE}/browser/lake")
    settle(page)
    licence = page.find_element(By.XPATH, "//button[contains(., 'Acknowledge')]")  # shown at the first visit
    page.execute_script("arguments[0].click()", licence)
    time.sleep(1)
    save(page, "minio-lake.png")


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
