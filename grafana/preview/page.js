"use strict";
// Asks for one dashboard at a time and draws what comes; a snapshot has every answer in it and asks nothing.
const page = window.PAGE;
const state = { uid: page.dashboards[0].uid, span: null, until: "auto", refresh: page.refresh, chosen: {} };
const SPANS = [[900, "15 minutes"], [3600, "hour"], [10800, "3 hours"], [21600, "6 hours"], [86400, "24 hours"],
  [604800, "7 days"], [2592000, "30 days"]];
let timer = null;
let asking = 0;

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties || {});
  element.append(...children);
  return element;
}

function tabs() {
  document.getElementById("tabs").replaceChildren(...page.dashboards.map((each) => {
    const tab = make("button", { textContent: each.title.replace(/^[^:]*: /, "").replace(/^./, (c) => c.toUpperCase()) });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", each.uid === state.uid);
    tab.dataset.uid = each.uid;
    tab.onclick = () => { state.uid = each.uid; state.span = null; tabs(); load(true); };
    return tab;
  }));
}

function query() {
  const parameters = new URLSearchParams({ until: state.until });
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
  document.title = answer.title;
  document.getElementById("about").textContent = answer.description;
  if (!document.querySelector("#controls details[open]")) controls(answer);
  const main = document.getElementById("panels");
  if (fresh) { main.querySelectorAll(".plot").forEach((plot) => Plotly.purge(plot)); main.replaceChildren(); }
  Promise.all(answer.panels.map((panel) => drawPanel(main, panel))).then(() => {
    told(`${answer.start} – ${answer.end} UTC${page.answers ? ", a snapshot" : ""}`, false);
    document.body.dataset.ready = answer.uid;
  });
}

function drawPanel(main, panel) {
  let section = document.getElementById("panel-" + panel.id);
  if (!section) {
    section = make("section", { id: "panel-" + panel.id });
    const [x, , w, h] = panel.position;
    section.style.gridColumn = `${x + 1} / span ${w}`;
    section.style.gridRow = `${panel.position[1] + 1} / span ${h}`;
    const unit = panel.unit ? [make("small", { textContent: panel.unit })] : [];
    const about = make("span", { textContent: "i", title: panel.description });
    about.setAttribute("aria-label", panel.description);
    section.append(make("h2", {}, panel.title, ...unit, about), make("div", { className: "plot" }));
    main.append(section);
  }
  let body = section.lastChild;
  section.dataset.drawn = panel.figure ? "yes" : "no";
  if (!panel.figure) {
    if (body.classList.contains("plot")) Plotly.purge(body);
    const none = make("div", { className: panel.error ? "none error" : "none" },
      make("b", { textContent: panel.error ? "Error" : "No data" }), make("span", { textContent: panel.error || panel.reason }));
    body.replaceWith(none);
    return null;
  }
  if (!body.classList.contains("plot")) {
    const plot = make("div", { className: "plot" });
    body.replaceWith(plot);
    body = plot;
  }
  const layout = { ...panel.figure.layout, autosize: true, uirevision: state.uid };
  return Plotly.react(body, panel.figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

function controls(answer) {
  const told = make("span", { id: "state" });
  if (page.answers) { document.getElementById("controls").replaceChildren(make("span", {
    textContent: answer.variables.map((v) => `${v.label}: ${v.all ? "All" : v.values.join(", ")}`).join(" · ") }), told); return; }
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

function picker(variable) {
  const chosen = new Set(variable.all ? [] : variable.values);
  const list = make("div");
  const apply = () => { state.chosen[variable.name] = chosen.size ? [...chosen] : ["$__all"]; };
  const fill = (wanted) => {
    const options = variable.options.filter((option) => option.includes(wanted)).slice(0, 200);
    list.replaceChildren(choice("All", chosen.size === 0, () => { chosen.clear(); apply(); fill(wanted); }),
      ...options.map((option) => choice(option, chosen.has(option), (on) => {
        if (on) chosen.add(option); else chosen.delete(option);
        apply();
        fill(wanted);
      })));
  };
  fill("");
  const search = make("input", { type: "search", placeholder: "find", oninput: (e) => fill(e.target.value.trim()) });
  const text = variable.all ? "All" : variable.values.join(", ");
  const details = make("details", { id: "var-" + variable.name, ontoggle: (e) => { if (!e.target.open) load(false); } },
    make("summary", { textContent: text }), make("div", {}, search, list));
  return make("label", { title: variable.description }, variable.label, details);
}

function choice(text, checked, changed) {
  return make("label", {}, make("input", { type: "checkbox", checked, onchange: (e) => changed(e.target.checked) }), text);
}

document.addEventListener("click", (event) => {
  document.querySelectorAll("#controls details[open]").forEach((each) => { if (!each.contains(event.target)) each.open = false; });
});
const wanted = location.hash.slice(1);
if (page.dashboards.some((each) => each.uid === wanted)) state.uid = wanted;
tabs();
load(true);
