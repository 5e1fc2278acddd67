// What a reader's choices change on the page. All numbers were made by the workflow; nothing is fitted or forecast here.
"use strict"
const data = JSON.parse(document.getElementById("data").textContent)
const byId = (id) => document.getElementById(id)
const LETTERS = Object.keys(data.limits)

// Return the document of Bokeh that has been put into the page.
function plots() {
  return Bokeh.documents[0]
}

// Show the runs of which at least one experiment is chosen.
function showExperiments() {
  const chosen = new Set([...document.querySelectorAll("input[name=experiment]:checked")].map((box) => box.value))
  plots().get_model_by_name("visible").booleans = data.experiments.map((names) => names.some((name) => chosen.has(name)))
}

// Show the lines and bands of the laws that are chosen.
function showLaws() {
  for (const box of document.querySelectorAll("input[name=law]")) {
    for (const letter of LETTERS) {
      for (const drawn of plots().get_model_by_name(letter).renderers) {
        if (drawn.name === `law ${box.value}`) {
          drawn.visible = box.checked
        }
      }
    }
  }
}

// Give an axis of all plots a logarithmic or a linear scale, with the ends that show the runs on it.
function setScale(side, kind) {
  for (const letter of LETTERS) {
    const plot = plots().get_model_by_name(letter)
    const [start, end] = data.limits[letter][side][kind]
    const Scale = Bokeh.Models.get(kind === "log" ? "LogScale" : "LinearScale")
    const Ticker = Bokeh.Models.get(kind === "log" ? "LogTicker" : "BasicTicker")
    const axis = side === "x" ? plot.below[0] : plot.left[0]
    // The range is set between the two scales: a logarithmic one cannot start at 0.
    const range = {start, end, reset_start: start, reset_end: end}
    if (kind === "log") {
      plot[`${side}_range`].setv(range)
    }
    plot[`${side}_scale`] = new Scale()
    plot[`${side}_range`].setv(range)
    axis.ticker = new Ticker()
    for (const grid of plot.center) {
      if (grid.dimension === (side === "x" ? 0 : 1)) {
        grid.ticker = axis.ticker
      }
    }
  }
}

// Write and draw the forecast at a step of the slider.
function showForecast(step) {
  const {at, loss, low, high, words} = data.steps[step]
  for (const letter of LETTERS) {
    plots().get_model_by_name(`at ${letter}`).data = {x: [at[letter]], loss: [loss], low: [low ?? loss], high: [high ?? loss]}
  }
  for (const name of ["flops", "n_params", "tokens", "loss", "beyond"]) {
    byId(name).textContent = words[name]
  }
  byId("beyond").className = words.state
  byId("compute").setAttribute("aria-valuetext", words.flops)
  byId("rows").replaceChildren(...words.rows.map((cells) => {
    const row = document.createElement("tr")
    row.append(...cells.map((text) => {
      const cell = document.createElement("td")
      cell.textContent = text
      return cell
    }))
    return row
  }))
}

// Check or clear the boxes of all experiments.
function chooseAll(checked) {
  for (const box of document.querySelectorAll("input[name=experiment]")) {
    box.checked = checked
  }
  showExperiments()
}

async function begin() {
  Bokeh.set_log_level("warn")
  await Bokeh.embed.embed_items({explore: data.document}, [data.item])
  for (const box of document.querySelectorAll("input[name=experiment]")) {
    box.addEventListener("change", showExperiments)
  }
  for (const box of document.querySelectorAll("input[name=law]")) {
    box.addEventListener("change", showLaws)
  }
  byId("all").addEventListener("click", () => chooseAll(true))
  byId("none").addEventListener("click", () => chooseAll(false))
  for (const side of ["x", "y"]) {
    byId(`scale-${side}`).addEventListener("change", (event) => setScale(side, event.target.value))
  }
  const slider = byId("compute")
  if (slider) {
    slider.addEventListener("input", () => showForecast(Number(slider.value)))
    showForecast(Number(slider.value))
  }
  document.body.dataset.ready = "yes"
}

begin()
