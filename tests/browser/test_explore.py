"""The page ``explore.html`` in a headless Chromium: it loads alone, and its controls do what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from fixtures import explored
from scalinglaws.cluster.cost import H100
from scalinglaws.common.numbers import number
from scalinglaws.decide import explore, explore_forecast, forecast

ASKED = "window.Bokeh.documents[0].get_model_by_name"


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the small study."""
    folder = explored.write_study(tmp_path_factory.mktemp("results") / "studies" / "small")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(explore_forecast, "A_DECADE", 1)  # steps of the slider: each takes a while
        return explore.write(folder, "small", explored.RESAMPLES, 0)


@pytest.fixture(scope="session")
def opened(html: Path) -> Iterator[Page]:
    """Open the page once for all tests; a message of the browser or a request for anything but the file is a fault."""
    chromium = shutil.which("chromium")
    assert chromium, "there is no Chromium: make test-browser installs it"
    faults: list[str] = []

    def only_the_file(route: Route) -> None:
        if route.request.url == html.as_uri():
            route.continue_()
        else:
            faults.append(f"it asks for {route.request.url[:100]}")
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
        page.route("**/*", only_the_file)
        page.goto(html.as_uri())
        page.wait_for_selector("body[data-ready=yes]")
        page.wait_for_function("window.Bokeh.documents[0].is_idle")
        yield page
        browser.close()
    assert faults == []


def model(page: Page, name: str, what: str) -> Any:
    """Return a value of a model of Bokeh, by its name."""
    return page.evaluate(f"{ASKED}('{name}').{what}")


def place(page: Page, letter: str, x: float, y: float) -> tuple[float, float]:
    """Return where in the window a plot has the point (x, y), by way of Bokeh's own scales."""
    script = """([letter, x, y]) => {
      const plot = window.Bokeh.documents[0].get_model_by_name(letter)
      const view = Bokeh.index.find_one(plot)
      const box = view.canvas_view.el.getBoundingClientRect()
      const frame = view.frame
      return [box.left + frame.x_scale.compute(x), box.top + frame.y_scale.compute(y)]
    }"""
    found = page.evaluate(script, [letter, x, y])
    return found[0], found[1]


def test_a_pointer_over_a_run_tells_which_it_is(opened: Page) -> None:
    run = max(explored.fits()["power-c"]["points"], key=lambda point: point["flops"])
    opened.locator("#plot-C").scroll_into_view_if_needed()
    opened.mouse.move(*place(opened, "C", run["flops"], run["loss"]), steps=8)
    opened.locator("b", has_text=run["run"]).first.wait_for()
    for words in ("in the fit of power-c", f"loss {run['loss']:.4f}"):
        assert opened.get_by_text(words).first.is_visible()
    opened.mouse.move(2, 2)


def test_the_slider_tells_what_python_forecasts(opened: Page, html: Path) -> None:
    basis = forecast.of_study(html.parent / "fits", explored.RESAMPLES, 0)
    slider, last = opened.locator("#compute"), None
    for share in (0.0, 0.5, 1.0):
        step = round(share * int(slider.get_attribute("max") or 0))
        slider.fill(str(step))
        flops = opened.evaluate(f"data.steps[{step}].at.C")
        found = forecast.answer(basis, {"flops": flops}, H100, "bfloat16", None, None)
        loss = found.losses[-1]
        assert loss.low is not None and loss.high is not None
        told = opened.locator("#loss").inner_text()
        assert told == f"{number(loss.loss, 4)} nats per token, 95 % interval {number(loss.low, 4)} to {number(loss.high, 4)}"
        assert told != last
        last = told
        assert opened.locator("#flops").inner_text() == f"{number(flops)} FLOP"
        assert opened.locator("#n_params").inner_text().startswith(number(found.n_params))
        assert model(opened, "at N", "data.x[0]") == pytest.approx(found.n_params)
        assert model(opened, "at C", "data.loss[0]") == pytest.approx(loss.loss)
        assert [row.split("\t")[:2] for row in opened.locator("#rows tr").all_inner_texts()] == [
            [of.method, number(of.loss, 4)] for of in found.losses
        ]
    assert opened.locator("#beyond").get_attribute("class") in ("checked", "unchecked")
    assert number(found.beyond.compute) in opened.locator("#beyond").inner_text()


def test_an_experiment_can_be_hidden(opened: Page) -> None:
    def shown() -> set[str]:
        script = f"""{ASKED}('C').renderers.filter((of) => of.glyph.type === 'Scatter' && of.data_source.name === 'runs').flatMap(
          (of) => [...Bokeh.index.find_one(of).all_indices])
          .map((k) => {ASKED}('runs').data.run[k])"""
        return set(opened.evaluate(script.replace("\n", " ")))

    table = explored.runs().filter(explored.runs()["status"] == "ok")
    of = dict(zip(table["run"], table["experiments"], strict=True))
    assert shown() == set(of)
    opened.locator("input[name=experiment][value=size]").uncheck()
    assert shown() == {run for run, names in of.items() if set(names) - {"size"}} and "two" in shown()
    opened.locator("#none").click()
    assert shown() == set()
    opened.locator("#all").click()
    assert shown() == set(of)


def test_the_table_sorts_by_loss_and_marks_a_run(opened: Page) -> None:
    table = opened.locator("#table")
    header = table.locator(".slick-header-column", has_text="loss")
    first = table.locator(".slick-row").first.locator(".slick-cell")
    header.first.click()
    best = explored.runs().drop_nulls("loss").sort("loss")
    assert first.nth(0).inner_text() == best["run"][0] and first.nth(6).inner_text() == f"{best['loss'][0]:.4f}"
    first.nth(0).click()
    chosen = model(opened, "runs", "selected.indices")
    assert [model(opened, "runs", f"data.run[{k}]") for k in chosen] == [best["run"][0]]
    header.first.click()
    told = first.nth(6).inner_text()
    assert told in ("–", f"{best['loss'][-1]:.4f}")
    opened.evaluate(f"{ASKED}('runs').selected.indices = []")


def test_axes_are_logarithmic_or_linear(opened: Page) -> None:
    run = max(explored.fits()["power-n"]["points"], key=lambda point: point["n_params"])
    for kind, scale in (("linear", "LinearScale"), ("log", "LogScale")):
        opened.locator("#scale-x").select_option(kind)
        opened.locator("#scale-y").select_option(kind)
        for letter in "NDC":
            assert {model(opened, letter, f"{side}_scale.type") for side in "xy"} == {scale}
        left, right = (model(opened, "N", f"x_range.{end}") for end in ("start", "end"))
        at = place(opened, "N", run["n_params"], run["loss"])[0]
        ends = [place(opened, "N", x, run["loss"])[0] for x in (max(left, 1e-9), right)]
        assert ends[0] < at < ends[1]
    opened.locator("#scale-x").select_option("linear")
    halves = [place(opened, "N", share * right, 2.0)[0] for share in (0.2, 0.4, 0.6)]
    assert halves[1] - halves[0] == pytest.approx(halves[2] - halves[1], rel=1e-6)
    opened.locator("#scale-x").select_option("log")


def test_a_law_can_be_hidden(opened: Page) -> None:
    def drawn() -> list[bool]:
        script = f"{ASKED}('C').renderers.filter((of) => of.name === 'law power-c').map((of) => of.visible)"
        return list(opened.evaluate(script))

    assert drawn() and all(drawn())
    opened.locator("input[name=law][value=power-c]").uncheck()
    assert not any(drawn())
    opened.locator("input[name=law][value=power-c]").check()


def test_the_page_holds_what_it_shows(html: Path) -> None:
    text = html.read_text()
    data = json.loads(text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])
    assert len(data["experiments"]) == len(explored.runs()) and explored.HOSTILE not in text
