"use strict";
// Asks for one dashboard at a time and draws what comes; a snapshot has every answer in it and asks nothing.
const page = window.PAGE;
const state = { uid: page.dashboards[0].uid, span: null, until: "auto", refresh: page.refresh, chosen: {}, answer: null };
const opened = new URLSearchParams(location.search);
const wantedTheme = opened.get("theme");
setTheme(wantedTheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
const SPANS = [[900, "15 minutes"], [3600, "hour"], [10800, "3 hours"], [21600, "6 hours"], [86400, "24 hours"],
  [604800, "7 days"], [2592000, "30 days"]];
let timer = null;
let asking = 0;

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties || {});
  element.append(...children);
  return element;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  if (state.answer) draw(state.answer, true);
}

function tabs() {
  const other = make("button", { id: "theme", textContent: "light / dark", onclick: () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  } });
  document.getElementById("tabs").replaceChildren(...page.dashboards.map((each) => {
    const tab = make("button", { textContent: each.title.replace(/^[^:]*: /, "").replace(/^./, (c) => c.toUpperCase()) });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", each.uid === state.uid);
    tab.dataset.uid = each.uid;
    tab.onclick = () => { location.hash = each.uid; };
    return tab;
  }), other);
}

function query() {
  const parameters = new URLSearchParams({ until: state.until, token: opened.get("token") || "" });
  if (state.span) parameters.set("span", state.span);
  for (const [name, values] of Object.entries(state.chosen)) values.forEach((v) => parameters.append("var-" + name, v));
  return `dashboard/${state.uid}?${parameters}`;
}

async function load(fresh) {
  clearTimeout(timer);
  const mine = ++asking;
  document.body.dataset.ready = "";
  let answer;
  try {
    if (page.answers) {
      answer = page.answers[state.uid];
    } else {
      const response = await fetch(query());
      answer = await response.json();
    }
  } catch (error) {
    if (mine !== asking) return;
    told("The preview does not answer; is `smartmeter dashboards preview` still running?", true);
    again();
    return;
  }
  if (mine !== asking) return;
  if (answer.error) {
    told(answer.error, true);
  } else {
    draw(answer, fresh);
  }
  again();
}

function again() {
  if (!page.answers && state.refresh) timer = setTimeout(() => load(false), state.refresh * 1000);
}

function told(words, failed) {
  const element = document.getElementById("state");
  if (!element) return;
  element.textContent = words;
  element.classList.toggle("failed", Boolean(failed));
}

function draw(answer, fresh) {
  state.answer = answer;
  document.body.dataset.ready = "";
  document.title = answer.title;
  document.getElementById("about").textContent = answer.description;
  if (!document.querySelector("#controls details[open]")) controls(answer);
  const main = document.getElementById("panels");
  if (fresh) { main.querySelectorAll(".plot").forEach((plot) => Plotly.purge(plot)); main.replaceChildren(); }
  Promise.all(answer.panels.map((panel) => drawPanel(main, panel))).then(() => {
    told(`${answer.start} – ${answer.end} ${answer.zone}${page.answers ? ", a snapshot" : ""}`, false);
    document.body.dataset.ready = answer.uid;
  });
}

function drawPanel(main, panel) {
  const [x, y, w, h] = panel.position;
  let section = document.getElementById("panel-" + panel.id);
  if (!section) {
    if (panel.kind === "row") {
      section = make("h3", { id: "panel-" + panel.id, textContent: panel.title });
    } else {
      const about = make("span", { textContent: "i", title: panel.description });
      about.setAttribute("aria-label", panel.description);
      section = make("section", { className: panel.kind });
      section.id = "panel-" + panel.id;
      section.append(make("h2", {}, make("b", { textContent: panel.title, title: panel.title }), about,
        make("small", { textContent: panel.note })), make("div"));
      section.style.gridColumn = `${x + 1} / span ${w}`;
    }
    section.style.gridRow = `${y + 1} / span ${h}`;
    main.append(section);
  }
  if (panel.kind === "row") return null;
  section.dataset.drawn = panel.body ? "yes" : "no";
  const old = section.lastChild;
  const plot = panel.body && panel.body.plot ? old.querySelector(".plot") || make("div", { className: "plot" }) : null;
  const body = bodyOf(panel, plot);
  if (!plot) old.querySelectorAll(".plot").forEach((each) => Plotly.purge(each));
  old.replaceWith(body);
  return plot ? Plotly.react(plot, panel.body.plot.data, themed(panel.body.plot.layout),
    { responsive: true, displaylogo: false, displayModeBar: false }) : null;
}

function bodyOf(panel, plot) {
  if (panel.error) return make("div", { className: "none error", textContent: panel.error });
  if (!panel.body) return make("div", { className: "none", textContent: panel.empty });
  if (panel.body.stats) return make("div", { className: "stats" }, ...panel.body.stats.map((each) =>
    make("div", {}, make("small", { textContent: each.name, title: each.name }), coloured("strong", each))));
  if (panel.body.table) return tableOf(panel.body.table);
  const legend = panel.body.legend;
  if (!legend) return make("div", { className: "body" }, plot);
  return make("div", { className: "body " + (legend.place === "right" ? "right" : "bottom") }, plot, legendOf(legend));
}

function coloured(tag, cell) {
  const element = make(tag, { textContent: cell.text });
  if (cell.color && cell.color !== "text") element.style.color = cell.color;
  return element;
}

function linked(text, link) {
  if (!link) return text;
  return make("a", { href: link.url, textContent: text, title: link.title });
}

function legendOf(legend) {
  const named = (row) => [Object.assign(make("i"), { style: `background:${row.color}` }), linked(row.name, row.link)];
  if (legend.place === "list") return make("div", { className: "legend" }, ...legend.rows.map((row) =>
    make("span", { className: "item" }, ...named(row))));
  const head = make("tr", {}, ...["Name", "Last *", "Max"].map((text) => make("th", { textContent: text })));
  head.firstChild.style.textAlign = "left";
  return make("div", { className: "legend" }, make("table", {}, head, ...legend.rows.map((row) => make("tr", {},
    make("td", { title: row.name }, ...named(row)), make("td", { textContent: row.last }), make("td", { textContent: row.max })))));
}

function tableOf(table) {
  const side = (at) => (table.columns[at].right ? "right" : "");
  const head = make("tr", {}, ...table.columns.map((column, at) => {
    const cell = make("th", { textContent: column.name, className: side(at) });
    if (column.width) cell.style.width = column.width + "px";
    return cell;
  }));
  const rows = table.rows.map((row) => make("tr", {}, ...row.map((each, at) => {
    const cell = coloured("td", each);
    cell.className = side(at);
    if (each.link) cell.replaceChildren(linked(each.text, each.link));
    return cell;
  })));
  return make("div", { className: "scroll" }, make("table", {}, head, ...rows));
}

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = (given) => ({ gridcolor: color("--grid"), zerolinecolor: color("--grid"), linecolor: color("--grid"), ...given });
  return { ...layout, autosize: true, uirevision: state.uid, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    font: { family: getComputedStyle(document.body).fontFamily, size: 11, color: color("--ink") },
    hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--line"), font: { color: color("--ink") } } };
}

function controls(answer) {
  const told = make("span", { id: "state" });
  if (page.answers) { document.getElementById("controls").replaceChildren(make("span", {
    textContent: answer.variables.map((v) => `${v.label}: ${chosenText(v)}`).join(" · ") }), told); return; }
  const span = make("select", { id: "span", onchange: (e) => { state.span = Number(e.target.value); load(false); } },
    ...SPANS.map(([value, text]) => make("option", { value, textContent: "last " + text, selected: value === answer.span })));
  const custom = !["auto", "now", "newest"].includes(state.until);
  const until = make("select", { id: "until", onchange: (e) => setUntil(e.target.value, answer) },
    ...[["auto", "newest, or now"], ["now", "now"], ["newest", "newest reading"], ["custom", "a time …"]].map(([value, text]) =>
      make("option", { value, textContent: text, selected: custom ? value === "custom" : value === state.until })));
  const at = custom ? [make("input", { type: "datetime-local", value: state.until, id: "at",
    onchange: (e) => { state.until = e.target.value; load(false); } })] : [];
  const refresh = make("select", { id: "refresh", onchange: (e) => { state.refresh = Number(e.target.value); load(false); } },
    ...[[0, "off"], [5, "5 s"], [10, "10 s"], [30, "30 s"]].map(([value, text]) =>
      make("option", { value, textContent: text, selected: value === state.refresh })));
  document.getElementById("controls").replaceChildren(
    ...answer.variables.map(picker), make("label", {}, "time", span), make("label", {}, "until", until, ...at),
    make("label", {}, "refresh", refresh), told);
}

function setUntil(value, answer) {
  state.until = value === "custom" ? answer.end.replace(" ", "T") : value;
  load(false);
}

function chosenText(variable) {
  if (variable.all) return "All";
  const texts = new Map(variable.options);
  return variable.values.map((value) => texts.get(value) || value).join(", ");
}

function picker(variable) {
  if (!variable.multi) {
    const one = make("select", { id: "var-" + variable.name, onchange: (e) => { state.chosen[variable.name] = [e.target.value]; load(false); } },
      ...variable.options.map(([value, text]) => make("option", { value, textContent: text, selected: variable.values.includes(value) })));
    return make("label", { title: variable.description }, variable.label, one);
  }
  const chosen = new Set(variable.all ? [] : variable.values);
  const list = make("div");
  const apply = () => { state.chosen[variable.name] = chosen.size ? [...chosen] : ["$__all"]; };
  const fill = (wanted) => {
    const options = variable.options.filter(([, text]) => text.toLowerCase().includes(wanted)).slice(0, 200);
    list.replaceChildren(choice("All", chosen.size === 0, () => { chosen.clear(); apply(); fill(wanted); }),
      ...options.map(([value, text]) => choice(text, chosen.has(value), (on) => {
        if (on) chosen.add(value); else chosen.delete(value);
        apply();
        fill(wanted);
      })));
  };
  fill("");
  const search = make("input", { type: "search", placeholder: "find", oninput: (e) => fill(e.target.value.trim().toLowerCase()) });
  const details = make("details", { id: "var-" + variable.name, ontoggle: (e) => { if (!e.target.open) load(false); } },
    make("summary", { textContent: chosenText(variable) }), make("div", {}, search, list));
  return make("label", { title: variable.description }, variable.label, details);
}

function choice(text, checked, changed) {
  return make("label", {}, make("input", { type: "checkbox", checked, onchange: (e) => changed(e.target.checked) }), text);
}

document.addEventListener("click", (event) => {
  document.querySelectorAll("#controls details[open]").forEach((each) => { if (!each.contains(event.target)) each.open = false; });
});

// #smartmeter-meters?var-building_id=2 as Grafana's links have it; time and refresh stay as they are.
function follow() {
  const [uid, parameters] = location.hash.slice(1).split("?");
  if (page.dashboards.some((each) => each.uid === uid)) {
    // A link keeps the time that is shown; a tab takes its dashboard's own.
    if (uid !== state.uid) state.span = parameters === undefined || !state.answer ? null : state.answer.span;
    state.uid = uid;
  }
  for (const [name, value] of new URLSearchParams(parameters || "")) {
    if (name.startsWith("var-")) state.chosen[name.slice(4)] = [value];
  }
  tabs();
  load(true);
}
window.addEventListener("hashchange", follow);
follow();
