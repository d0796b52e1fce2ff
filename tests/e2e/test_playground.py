"""The page at / in headless Chromium, against a real router and worker."""

import os
import pathlib
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from conftest import MODEL_ID, http_get

# Set to a folder to keep a picture of every state (docs/playground.md shows some).
PICTURES = os.environ.get("PINGTI_TEST_PICTURES")


@pytest.fixture(scope="module")
def browser():
    for program in ["chromium", "chromedriver"]:
        assert shutil.which(program), f"{program} is not installed: scripts/install_packages.sh test"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--no-first-run", "--disable-background-networking", "--lang=en"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


class Page:
    def __init__(self, browser, url, size=(1100, 800)):
        self.browser = browser
        browser.set_window_size(*size)
        browser.get(url + "/")
        self.wait(lambda: self.all("#model option") or self.all(".error"), "models or an error")

    def all(self, css):
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def wait(self, condition, what, timeout_s=60):
        return WebDriverWait(self.browser, timeout_s, 0.05).until(lambda _: condition(), what)

    def settings(self, **values):
        if not self.one("#settings").is_displayed():
            self.one("#toggle-settings").click()
        for name, value in values.items():
            field = self.one("#" + name)
            field.clear()
            field.send_keys(str(value))

    def ask(self, text):
        self.one("#prompt").send_keys(text, Keys.ENTER)

    def idle(self):
        return self.one("#send").is_displayed()

    def picture(self, name):
        if PICTURES:
            self.browser.save_screenshot(str(pathlib.Path(PICTURES) / f"playground-{name}.png"))

    def complaints(self):
        """What the browser's console says of this page: blocked by policy, exceptions."""
        return [entry["message"] for entry in self.browser.get_log("browser")
                if entry["level"] == "SEVERE"]

    def js(self, code, *arguments):
        """The value of an async function's body in the page."""
        return self.browser.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "(async (...arguments) => {" + code + "})(...arguments).then(done, (e) => done('' + e));", *arguments)


@pytest.fixture
def page(browser, cluster):
    return Page(browser, cluster.router.url)


def test_an_answer_streams_in(page):
    page.settings(temperature=0, max_tokens=64, system="You are a short-spoken assistant.")
    page.ask("Name three primary colours.")
    page.wait(lambda: not page.idle(), "the answer begins")
    lengths = []

    def finished():
        lengths.append(len(page.one(".assistant .body").text))
        return page.idle()

    page.wait(finished, "the answer ends")
    assert len({n for n in lengths if n}) > 2, "the text should come in pieces"
    stats = page.one(".assistant .stats").text
    assert "first token" in stats and "tokens/s" in stats and " + " in stats
    assert page.one(".user").text == "Name three primary colours."
    page.picture("answer")
    # The second turn is shown the first.
    page.ask("Which of them is the sky?")
    page.wait(lambda: len(page.all(".assistant")) == 2 and page.idle(), "the second answer")
    assert not page.all(".error")
    page.one("#new-chat").click()
    assert not page.all(".message")
    assert page.complaints() == []


def test_stop_ends_the_answer_and_keeps_what_came(page):
    page.ask("Write a long story about a dragon, with many chapters.")
    page.wait(lambda: len(page.one(".assistant .body").text) > 40, "some text")
    page.one("#stop").click()
    page.wait(page.idle, "the page is idle", 5)
    assert "stopped" in page.one(".assistant .stats").text
    length = len(page.one(".assistant .body").text)
    assert length > 40 and not page.all(".error")
    page.settings(max_tokens=8)
    page.ask("Say yes.")
    page.wait(lambda: len(page.all(".assistant")) == 2 and page.idle(), "an answer after the stop")


def test_an_error_is_shown_in_the_apis_words(page):
    page.settings(temperature=9)
    page.ask("Hello")
    page.wait(lambda: page.all(".error"), "the error")
    assert "400" in page.one(".error").text and "temperature" in page.one(".error").text
    assert page.idle() and not page.all(".assistant")
    page.picture("error")


def test_on_a_phone_nothing_is_cut_off(browser, cluster):
    page = Page(browser, cluster.router.url, (390, 780))
    # Headless Chromium's windows do not get that narrow; its device metrics do.
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": 390, "height": 780, "deviceScaleFactor": 2, "mobile": True})
    try:
        page.settings(temperature=0, max_tokens=48)
        page.picture("phone-settings")
        page.one("#toggle-settings").click()
        page.ask("Write a Python function that adds two numbers.")
        page.wait(page.idle, "the answer")
        wide = page.js("return [document.documentElement.scrollWidth, innerWidth];")
        assert wide[0] <= wide[1] == 390
        for css in ["#prompt", "#send", "#model", "#new-chat", "#toggle-settings"]:
            box = page.one(css).rect
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 780, css
        page.picture("phone")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


MARKDOWN = """# Title

A *slanted*, **bold** and `code()` text with [a link](https://example.org/a_b) and snake_case_name.

1. one
2. two
   - inner **item**

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
print("<b>hi</b>")
```"""


def test_markdown_becomes_elements(page):
    shape = page.js("""
        const {render} = await import('/playground/markdown.js');
        const box = document.createElement('div');
        box.append(...render(arguments[0]));
        const texts = (css) => [...box.querySelectorAll(css)].map((n) => n.textContent);
        return {h: texts('h2'), em: texts('em'), strong: texts('strong'), code: texts('p code'),
                a: [...box.querySelectorAll('a')].map((n) => n.href), ol: texts('ol > li').length,
                inner: texts('ol ul li'), quote: texts('blockquote'), cells: texts('td'), pre: texts('pre'),
                p: texts('p')};""", MARKDOWN)
    assert shape["h"] == ["Title"] and shape["em"] == ["slanted"] and shape["code"] == ["code()"]
    assert shape["strong"] == ["bold", "item"] and shape["a"] == ["https://example.org/a_b"]
    assert shape["ol"] == 2 and shape["inner"] == ["inner item"] and shape["quote"] == ["quoted"]
    assert shape["cells"] == ["1", "2"] and shape["pre"] == ['print("<b>hi</b>")']
    assert "snake_case_name" in shape["p"][0]


@pytest.mark.parametrize("text", [
    "<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 1'>",
    "[click](javascript:window.hit=1)", "[x](data:text/html,<script>window.hit=1</script>)",
    "`<svg onload=window.hit=1>`", "```\n</code></pre><script>window.hit=1</script>\n```",
    "| a |\n|---|\n| <iframe srcdoc='<script>parent.hit=1</script>'> |", "https://a.b/\"onmouseover=window.hit=1",
])
def test_nothing_in_an_answer_runs(page, text):
    found = page.js("""
        const {render} = await import('/playground/markdown.js');
        const box = document.createElement('div');
        document.getElementById('log').append(box);
        box.append(...render(arguments[0]));
        await new Promise((resolve) => setTimeout(resolve, 50));
        const bad = [...box.querySelectorAll('script, img, svg, iframe')].length +
            [...box.querySelectorAll('a')].filter((a) => !/^https?:/.test(a.href)).length +
            [...box.querySelectorAll('*')].filter((n) => [...n.attributes].some((a) => a.name.startsWith('on'))).length;
        return {bad, hit: window.hit ?? 0};""", text)
    assert found == {"bad": 0, "hit": 0}


def test_reasoning_is_folded(page):
    page.js("""
        const chunk = (delta, reason = null) => `data: ${JSON.stringify(
            {choices: [{delta, finish_reason: reason}]})}\\n\\n`;
        const body = chunk({reasoning_content: 'Let me '}) + chunk({reasoning_content: 'think.'}) +
            chunk({content: 'It is **4**.'}) + chunk({}, 'stop') + 'data: [DONE]\\n\\n';
        const real = window.fetch;
        window.fetch = async (url, options) => url.endsWith('/chat/completions') ?
            new Response(body, {headers: {'content-type': 'text/event-stream'}}) : real(url, options);""")
    page.ask("2 + 2?")
    page.wait(lambda: page.all(".assistant strong"), "the answer")
    details = page.one("details.reasoning")
    assert details.get_attribute("open") is None
    assert page.one(".assistant .body").text == "It is 4."
    details.find_element(By.TAG_NAME, "summary").click()
    assert page.one("details.reasoning div").text == "Let me think."


def test_the_key_is_asked_for_and_used(browser, own_cluster):
    cluster = own_cluster(num_workers=1, router_args=("--api-keys", "sesame"))
    page = Page(browser, cluster.router.url)
    assert "401" in page.one(".error").text and page.one("#api-key").is_displayed()
    page.picture("key")
    page.one("#api-key").send_keys("sesame", Keys.TAB)
    page.wait(lambda: page.all("#model option"), "the models")
    assert page.one("#model").text.strip() == MODEL_ID and not page.all(".error")
    page.settings(max_tokens=4)
    page.ask("Hi")
    page.wait(lambda: page.all(".assistant .stats") and page.idle(), "an answer")
    assert not page.all(".error")


def test_the_page_can_be_switched_off(own_cluster):
    cluster = own_cluster(num_workers=1, router_args=("--playground=false",))
    status, body = http_get(cluster.router.url + "/")
    assert status == 404 and "Unknown request URL" in body
