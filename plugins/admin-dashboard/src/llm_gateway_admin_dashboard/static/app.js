// What the pages do beyond links and forms: ticks, charts, confirmations, copying.
"use strict";
(() => {
  const TICK_MS = 5000;
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  const stored = {
    get(name) {
      try { return localStorage.getItem(name) || ""; } catch { return ""; }
    },
    set(name, value) {
      try { localStorage.setItem(name, value); } catch { /* forbidden: it holds for this page */ }
    },
  };

  // --- colours ------------------------------------------------------------------------

  function colours() {
    const choice = document.querySelector("[data-theme-choice]");
    if (!choice) return;
    choice.value = root.dataset.theme || "";
    choice.addEventListener("change", () => {
      if (choice.value) root.dataset.theme = choice.value;
      else delete root.dataset.theme;
      stored.set("dashboard-colours", choice.value);
      redraw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  // A custom property as the colour that it comes to in the present scheme.
  function colour(name) {
    const probe = document.createElement("span");
    probe.className = `probe probe-${name}`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  // --- menu and updates ---------------------------------------------------------------

  function menu() {
    const button = document.querySelector("[data-menu]");
    const list = document.getElementById("menu");
    if (!button || !list) return;
    const show = (open) => {
      button.setAttribute("aria-expanded", String(open));
      list.classList.toggle("open", open);
    };
    button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && list.classList.contains("open")) {
        show(false);
        button.focus();
      }
    });
  }

  let paused = false;

  function updates() {
    const button = document.querySelector("[data-pause]");
    if (!button) return;
    if (!document.querySelector("[data-hx-trigger^=tick], [data-numbers]")) {
      button.hidden = true;
      return;
    }
    const show = () => {
      button.setAttribute("aria-pressed", String(paused));
      button.textContent = paused ? "Updates paused" : "Pause updates";
    };
    paused = stored.get("dashboard-paused") === "yes";
    show();
    button.addEventListener("click", () => {
      paused = !paused;
      stored.set("dashboard-paused", paused ? "yes" : "");
      show();
      if (!paused) tick();
    });
    setInterval(tick, TICK_MS);
  }

  // Nothing moves under somebody's hands: not while a part is typed into or a text is selected.
  function tick() {
    if (paused || document.hidden) return;
    if (document.querySelector("[data-hx-trigger^=tick] :focus-visible")) return;
    const selection = getSelection();
    if (selection && !selection.isCollapsed) return;
    document.body.dispatchEvent(new Event("tick"));
  }

  // --- charts -------------------------------------------------------------------------

  const LINES = ["one", "two", "three", "four", "five", "six"];
  const drawn = new Map(); // element -> how to draw it again

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value !== 0 && Math.abs(value) < 0.01) return value.toPrecision(2);
    return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 2 : 0 });
  }

  function draw(figure, at, lines, { bars = false } = {}) {
    drawn.set(figure, () => draw(figure, at, lines, { bars }));
    const plot = figure.querySelector(".plot");
    const unit = figure.dataset.unit;
    const title = figure.querySelector("h3").textContent;
    const names = Object.keys(lines);
    legend(figure.querySelector(".legend"), names, lines, bars);
    const last = names.map((name) => `${name} ${number(lines[name].at(-1))}`).join(", ");
    plot.setAttribute("aria-label", names.length && at.length
      ? `${title}, ${unit}. ${bars ? "The last" : "Now"}: ${last}.` : `${title}: nothing yet.`);
    plot.classList.toggle("empty", !names.length || !at.length);
    plot.replaceChildren();
    if (!names.length || !at.length) {
      plot.textContent = "Nothing yet";
      return;
    }
    const axis = { stroke: colour("muted"), font: "11px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const [from, to] = range(figure, at, bars);
    const room = (plot.clientWidth - 60) * gap(figure, at) / (to - from) * 0.8;
    const series = names.map((name, n) => {
      const stroke = colour(LINES[n % LINES.length]);
      return {
        label: name, stroke, width: 1.5, spanGaps: true, points: { show: at.length < 3 },
        ...(bars ? { paths: uPlot.paths.bars({ size: [1, room / names.length],
          align: names.length === 2 ? n * 2 - 1 : 0 }),
          fill: stroke, points: { show: false } } : {}),
      };
    });
    const chart = new uPlot({
      width: plot.clientWidth, height: 170, padding: [10, 8, 0, 0], series: [{}, ...series], legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
        x: { time: true, range: () => [from, to] } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [{ ...axis, space: 64, size: 28, values: moments }, { ...axis, size: 52, values: (_, ticks) => ticks.map(number) }],
      hooks: { setCursor: [(u) => point(figure, u, names, lines)] },
    }, [at, ...names.map((name) => lines[name])], plot);
    plot.chart = chart;
  }

  // The whole span that a chart is about, so that what is missing is seen to be missing.
  function range(figure, at, bars) {
    const span = Number(figure.dataset.span);
    const last = at.at(-1), apart = gap(figure, at);
    if (bars) return [Math.min(Date.now() / 1000 - span, at[0] - apart / 2), last + apart * 0.7];
    return [Math.min(at[0], last - span), last];
  }

  // Between two bars: of the hours or days that there are, the nearest two.
  function gap(figure, at) {
    const usual = Number(figure.dataset.span) > 86400 ? 86400 : 3600;
    return Math.min(usual, ...at.slice(1).map((each, n) => each - at[n]));
  }

  // Hours and minutes, or days where the ticks are as far apart; always UTC, as in the tables.
  function moments(_, ticks) {
    const apart = ticks.length > 1 ? ticks[1] - ticks[0] : 60;
    return ticks.map((tick) => {
      const text = new Date(tick * 1000).toISOString();
      return apart >= 86400 ? text.slice(5, 10) : apart < 60 ? text.slice(11, 19) : text.slice(11, 16);
    });
  }

  function legend(place, names, lines) {
    place.replaceChildren(...names.map((name, n) => {
      const entry = document.createElement("span");
      entry.className = `key probe-${LINES[n % LINES.length]}`;
      entry.append(Object.assign(document.createElement("i"), {}));
      entry.append(`${name.replaceAll("_", " ")} `);
      const value = document.createElement("b");
      value.textContent = number(lines[name].at(-1));
      entry.append(value);
      return entry;
    }));
  }

  // The legend tells the values under the pointer, and the last ones without it.
  function point(figure, u, names, lines) {
    const at = u.cursor.idx;
    all(".legend b", figure).forEach((each, n) => {
      const values = lines[names[n]];
      if (values) each.textContent = number(at === null || at === undefined ? values.at(-1) : values[at]);
    });
  }

  function redraw() {
    for (const [figure, again] of drawn) if (figure.isConnected) again();
  }

  async function live() {
    const section = document.querySelector("[data-numbers]");
    if (!section) return;
    const load = async () => {
      try {
        const answer = await fetch(section.dataset.numbers, { headers: { accept: "application/json" } });
        if (!answer.ok) return; // the session is over: the parts beside lead to the form
        const found = await answer.json();
        for (const figure of all("[data-chart]", section)) {
          const lines = found[figure.dataset.chart];
          const quiet = Object.values(lines).every((values) => values.every((value) => value === null));
          draw(figure, quiet ? [] : found.at, lines);
        }
      } catch {
        // the gateway is away for a moment: what is drawn stays
      }
    };
    document.body.addEventListener("tick", load);
    await load();
  }

  function tables() {
    for (const figure of all("[data-table]")) {
      const table = document.getElementById(figure.dataset.table);
      if (!table) continue;
      const heads = all("thead th", table);
      const rows = all("tbody tr", table);
      const at = rows.map((row) => Date.parse(row.dataset.at) / 1000);
      const lines = {};
      for (const wanted of figure.dataset.columns.split(",")) {
        const place = heads.findIndex((head) => head.dataset.name === wanted);
        lines[wanted] = rows.map((row) => Number(row.children[place].dataset.value));
      }
      draw(figure, at, lines, { bars: true });
    }
  }

  // --- forms --------------------------------------------------------------------------

  function forms() {
    document.addEventListener("submit", (event) => {
      const text = event.target.dataset.confirm;
      if (text && !confirm(text)) event.preventDefault();
    });
    document.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-copy]");
      if (!button) return;
      const field = document.getElementById(button.dataset.copy);
      const said = document.querySelector("[data-copied]");
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
        said.textContent = "Copied.";
      } catch {
        said.textContent = "It is selected: copy it with the keyboard.";
      }
    });
    const place = document.querySelector("[data-focus]") || document.querySelector("[aria-invalid=true]");
    if (place) place.focus();
  }

  colours();
  menu();
  updates();
  tables();
  live();
  forms();
  let wait;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(redraw, 150);
  });
})();
