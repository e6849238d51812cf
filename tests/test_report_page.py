"""The page as people use it, in headless Chromium: filters, links, sound, keyboard, paper, dark and narrow screens."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fixtures_report import HOSTILE, MEDIA, PLAIN, write_run

from mmkeras.report import report

pytest_plugins = ("fixtures_tables", "fixtures_everything")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# WCAG 2's contrast of every text on the page with what is behind it; colours that are half clear are laid over it
CONTRASTS = """() => {
  const painter = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    painter.clearRect(0, 0, 1, 1); painter.fillStyle = color; painter.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = painter.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => below.map((value, i) => top[3] * top[i] + (1 - top[3]) * value);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    let clear = ink[3];
    for (let e = element; e; e = e.parentElement) clear *= Number(getComputedStyle(e).opacity);
    const lights = [light(over([ink[0], ink[1], ink[2], clear], ground)), light(ground)].sort((a, b) => a - b);
    found.push([(lights[1] + 0.05) / (lights[0] + 0.05), texts.currentNode.textContent.trim().slice(0, 60)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers have neither a sandbox of users nor a sound card
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with text, numbers, pictures and sound, explained; nobody changes it."""
    return write_run(tmp_path_factory.mktemp("media"), rows=40, columns=PLAIN | MEDIA, explained=12)


@pytest.fixture(scope="module")
def file(folder):
    return report(folder)


@pytest.fixture
def visit(browser):
    """A function: file -> its page; what the page says to the console or asks the network for is an error."""
    contexts, complaints = [], []

    def visit(file: Path, viewport=DESK, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _is_own(request.url, file) or complaints.append(request.url))
        page.goto(file.as_uri())
        page.set_default_timeout(10_000)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


def _is_own(url: str, file: Path) -> bool:
    return url.startswith("data:") or url.partition("#")[0] == file.as_uri()


def comes_true(page, what: str) -> bool:
    """Playwright's own waiting evaluates strings inside the page, which its policy forbids."""
    for _ in range(100):
        if page.evaluate(what):
            return True
        page.wait_for_timeout(50)
    return False


def shown(page) -> list[str]:
    return page.eval_on_selector_all("article:not([hidden])", "cards => cards.map(card => card.id)")


def rows_where(folder: Path, **wanted) -> set[str]:
    rows = pd.read_parquet(folder / "evaluation_rows.parquet")
    for name, value in wanted.items():
        rows = rows[rows[f"intent {name}"] == value]
    return {f"row-{row}" for row in rows["row"]}


def test_a_cell_of_the_confusion_matrix_opens_its_rows(visit, file, folder):
    page = visit(file)
    links = page.locator(".matrix a")
    wanted = [json.loads(text) for text in links.evaluate_all("all => all.map(each => each.dataset.filter)")]
    i = next(i for i, each in enumerate(wanted) if each["truth"] != each["answer"])
    links.nth(i).click()
    rows = rows_where(folder, truth=wanted[i]["truth"], answer=wanted[i]["answer"])
    assert set(shown(page)) == rows and str(len(rows)) == links.nth(i).inner_text()
    assert page.locator("select[name=truth]").evaluate("each => each.selectedOptions[0].text") == wanted[i]["truth"]
    assert page.locator("#filter").evaluate("each => each.getBoundingClientRect().top < innerHeight")
    page.get_by_role("button", name="Show all").click()
    assert len(shown(page)) == 24


def test_filters(visit, file, folder):
    page = visit(file)
    show = page.locator("#filter select[name=verdict]")
    show.select_option("wrong")
    assert set(shown(page)) == rows_where(folder, right=False)
    assert f"Showing {len(shown(page))} of {len(shown(page))} rows that fit; 40 of 40" in page.inner_text("#counted")
    show.select_option("suspect")
    rows = pd.read_parquet(folder / "evaluation_rows.parquet")
    assert set(shown(page)) == {f"row-{row}" for row in rows["row"][rows["intent suspect"].notna()]}
    show.select_option("")
    page.fill("input[name=from]", "60")
    page.fill("input[name=to]", "70")
    sure = rows["intent confidence"].between(0.6, 0.7)
    assert set(shown(page)) == {f"row-{row}" for row in rows["row"][sure]}
    page.get_by_role("button", name="Show all").click()
    page.fill("input[name=words]", "WHERE is my")
    assert shown(page) and all("where is my parcel?" in page.inner_text(f"#{card}") for card in shown(page))
    page.fill("input[name=words]", "nothing has this")
    assert not shown(page)


def test_sorting_and_more(visit, file, folder):
    page = visit(file)
    page.get_by_role("button", name="Show 16 more").click()
    assert len(shown(page)) == 40 and not page.locator("#more").is_visible()
    rows = pd.read_parquet(folder / "evaluation_rows.parquet")
    page.locator("select[name=sort]").select_option("confidence")
    assert shown(page) == [f"row-{row}" for row in rows.sort_values("intent confidence")["row"]]
    page.locator("select[name=sort]").select_option("row")
    assert shown(page) == [f"row-{row}" for row in range(1, 41)]


def test_a_link_to_a_row_reveals_it(visit, file):
    page = visit(file)
    page.locator("#filter select[name=verdict]").select_option("right")
    link = page.locator('section a[href^="#row-"]').first
    link.click()
    card = page.locator(link.get_attribute("href"))
    assert comes_true(page, f"document.activeElement.id === '{link.get_attribute('href')[1:]}'")
    assert card.is_visible()
    again = visit(file.with_name(file.name))
    again.goto(f"{file.as_uri()}#row-40")
    again.reload()
    assert again.locator("#row-40").is_visible()


def test_a_sound_plays_and_the_cursor_moves(visit, file):
    page = visit(file)
    page.locator("audio").first.evaluate("each => each.play()")
    assert comes_true(page, "document.querySelector('audio').currentTime > 0.1")
    assert comes_true(page, "parseFloat(document.querySelector('.mmkeras-cursor').style.left) > 5")
    assert page.locator(".mmkeras-cursor").first.evaluate("each => each.style.opacity") == "1"
    page.locator("audio").nth(1).evaluate("each => each.play()")
    assert comes_true(page, "document.querySelector('audio').paused")  # one at a time


def test_heat_maps_can_be_hidden(visit, file):
    page = visit(file)
    heat = page.locator("article:not([hidden]) .mmkeras-heat").first
    assert heat.is_visible()
    page.get_by_label("heat maps").uncheck()
    assert not heat.is_visible()
    page.get_by_role("button", name="Show all").click()
    assert heat.is_visible()


def test_by_keyboard_alone(visit, file):
    page = visit(file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").evaluate("each => each.getBoundingClientRect().left >= 0")
    page.keyboard.press("Enter")
    seen = []
    for _ in range(400):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name || document.activeElement.className || ''")
        seen.append(name)
        if name == "truth":
            break
    assert seen[-1] == "truth" and "to-gallery" in seen
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("ArrowDown")
    assert page.locator("select[name=truth]").input_value() != ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_contrast_and_width(visit, file, scheme, viewport):
    page = visit(file, viewport, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 60) == (scheme == "dark")
    poor = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert not poor


def test_names_and_texts_of_any_length_fit_a_phone(visit, tmp_path):
    names = ("unbroken" * 60, "several words " * 30, "короткое", "<b>")
    folder = write_run(tmp_path, rows=30, texts=HOSTILE, names=names, classes=6)
    page = visit(report(folder), PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("window.broken") is None
    page.locator("select[name=truth]").select_option(index=1)
    assert shown(page)


def test_on_paper(visit, file):
    page = visit(file, {"width": 718, "height": 1000})  # A4 without its margins, in CSS pixels
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#filter").is_visible() and not page.locator("nav").is_visible()
    assert page.locator("#reproduce details pre").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert len(page.pdf()) > 10_000
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#reproduce details pre").is_visible()


def test_without_scripts_every_row_is_there(browser, file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("article").count() == page.locator("article:visible").count() == 40
    assert not page.locator("#filter").is_visible()
    context.close()


def test_several_targets_have_filters_of_their_own(visit, tmp_path):
    folder = write_run(tmp_path, rows=12, targets={"intent": "classes", "price": "numbers"})
    page = visit(report(folder))
    assert page.locator("select[name=truth]").is_visible()
    page.locator("select[name=target]").select_option("price")
    assert not page.locator("select[name=truth]").is_visible()
    page.locator("select[name=sort]").select_option("-loss")
    rows = pd.read_parquet(folder / "evaluation_rows.parquet").sort_values("price loss", ascending=False)
    assert shown(page) == [f"row-{row}" for row in rows["row"]]


def test_a_thousand_classes_can_be_used(visit, tmp_path):
    page = visit(report(write_run(tmp_path, classes=1000, rows=1500, explained=0), explain=False), PHONE)
    page.locator("#results-1 ol a.to-gallery").first.click()
    assert page.locator("select[name=truth]").input_value().startswith("=class ")


def test_real_runs(visit, run, everything_run, tmp_path):
    """Trained, judged, explained and shown: every figure is a file's, all seven kinds of columns are drawn."""
    from test_report import Page, at

    for folder in (run.folder, everything_run.folder):
        copy = tmp_path / folder.parent.name
        shutil.copytree(folder, copy)
        file = report(copy)
        read = Page(file.read_text(encoding="utf-8"))
        for place, value in read.figures:
            assert float(value) == at(copy, place), place
        metrics = json.loads((copy / "metrics.json").read_text())["test"]
        figures = dict(read.figures)
        for target, scores in metrics.items():
            for metric, value in scores.items():
                shown_value = float(figures[f"evaluation.json#/targets/{target}/models/0/scores/{metric}"])
                assert shown_value == pytest.approx(value, rel=1e-5), (target, metric)
        page = visit(file, PHONE, color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert "cannot be" not in read.text and "too large" not in read.text
        assert page.locator("article .cell").count() == len(read.cards) * len(
            json.loads((copy / "schema.json").read_text())["columns"]
        )
    assert page.locator("article audio").count() and page.locator("article .mmkeras-heat").count()
