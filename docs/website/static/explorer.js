// The results explorer: choices in a form, kept in the address; two charts and a table out of window.explorerData.
addEventListener("DOMContentLoaded", () => {
  const data = window.explorerData, form = document.getElementById("choices"), byId = id => document.getElementById(id);
  const COLOURS = { SE: "#0072B2", ME: "#D55E00", random: "#888888" }, SHAPES = { SE: "circle", ME: "square", random: "diamond" };
  const MODELS = ["DNN", "IPNN", "NFwFM", "xDeepFM", "DCNv2", "FinalMLP", "FFM", "FM"], DESIGNS = ["SE", "ME"];
  const METRICS = {
    test_auc: ["Test AUC", 5], gain: ["Test AUC, gain over the base size", 5], valid_auc: ["Validation AUC", 5],
    test_logloss_nats: ["Test logloss (nats)", 5], ia: ["Information abundance, mean over fields", 2],
  };
  const capital = name => name[0].toUpperCase() + name.slice(1);
  const hasRuns = name => data[name].cells.length > 0, published = Object.keys(data).filter(name => data[name].paper.length);

  const options = (select, entries) => select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  const boxes = (id, values) => byId(id).replaceChildren(...values.map(value => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", name: id, value, checked: true });
    label.append(box, ` ${value}`);
    return label;
  }));
  options(byId("dataset"), Object.keys(data).map(name => [name, `${name}: ${data[name].title}` + (hasRuns(name) ? "" : " (not run here)")]));
  options(byId("metric"), Object.entries(METRICS).map(([name, [text]]) => [name, text]));
  options(byId("paper"), [["", "the same dataset"], ...published.map(name => [name, capital(name)])]);
  boxes("models", MODELS.filter(m => Object.values(data).some(d => [...d.cells, ...d.paper, ...d.fields].some(c => c.model === m))));
  boxes("designs", DESIGNS);

  // ticked at first are the models that were run on the dataset; where none was, those that the paper has numbers of
  let touched = false;
  const runOn = name => MODELS.filter(m => data[name].cells.some(c => c.model === m));
  const first = name => hasRuns(name) ? runOn(name) : MODELS.filter(m => data[name].paper.some(c => c.model === m));
  const tick = () => {
    const name = byId("dataset").value, run = runOn(name), ticked = first(name);
    for (const box of form.querySelectorAll("[name=models]")) {
      if (!touched) box.checked = ticked.includes(box.value);
      box.nextSibling.data = ` ${box.value}` + (run.includes(box.value) ? "" : " (not run)");
    }
  };

  // the state is what the form says; only what differs from the first view goes into the address
  const chosen = () => {
    const said = new FormData(form);
    return { dataset: said.get("dataset"), metric: said.get("metric"), paper: said.get("paper"), size: said.get("size") ?? "",
             models: said.getAll("models"), designs: said.getAll("designs") };
  };
  const write = state => history.replaceState(null, "", "#" + new URLSearchParams(
    Object.entries(state).map(([name, value]) => [name, [].concat(value).join(",")])
      .filter(([name, value]) => name === "models" ? touched : value || name === "designs")));
  const read = () => {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "models") touched = true;
      if (["models", "designs"].includes(name))
        form.querySelectorAll(`[name=${name}]`).forEach(box => box.checked = value.split(",").includes(box.value));
      else if (["dataset", "metric", "paper"].includes(name) && [...byId(name).options].some(o => o.value === value)) byId(name).value = value;
      else if (name === "size") byId("size").dataset.wanted = value;
    }
  };

  const sizeName = scale => scale === 1 ? "base" : `${scale}x`;
  const fixed = (value, digits) => value == null ? "–" : value.toFixed(digits).replace("-", "−");
  // SE and ME share the base, so that its cell begins both lines
  const lines = (cells, designs) => designs.flatMap(design =>
    cells.filter(c => c.design === design || (c.scale === 1 && c.design === "SE")).map(c => ({ ...c, series: design })));

  function panel(model, rows, title, width, digits) {
    const sizes = [...new Set(rows.map(r => r.scale))].sort((a, b) => a - b);
    const x = { field: "scale", type: "quantitative", scale: { type: "log", domain: [.88 * sizes[0], 1.12 * sizes.at(-1)], nice: false },
                axis: { values: sizes, labelExpr: "datum.value + 'x'", title: "model size", grid: false } };
    const axis = { format: `.${Math.min(digits, 4)}f`, title }, colour = { field: "series", type: "nominal",
      scale: { domain: DESIGNS, range: DESIGNS.map(d => COLOURS[d]) }, legend: { title: null, orient: "bottom" } };
    const y = { field: "mean", type: "quantitative", scale: { zero: false }, axis };
    const number = (field, text) => ({ field, title: text, format: `.${digits}f` });
    const shape = { field: "series", type: "nominal", scale: { domain: DESIGNS, range: DESIGNS.map(d => SHAPES[d]) } };
    const tooltip = [{ field: "model" }, { field: "series", title: "design" }, { field: "size" }, { field: "source" },
                     number("mean", title), number("low", "95 %, from"), number("high", "95 %, to"), { field: "n", title: "runs" }];
    const dash = { condition: { test: "datum.source === 'here'", value: [1, 0] }, value: [4, 3] };
    return { title: { text: model, fontSize: 12 }, width, height: 200, data: { values: rows }, encoding: { x, color: colour }, layer: [
      { mark: { type: "line", strokeWidth: 1.8 }, encoding: { y, detail: { field: "source" }, strokeDash: dash } },
      ...(rows.some(r => r.low != null) ? [{ mark: { type: "rule", strokeWidth: 1.4 }, encoding: { y: { ...y, field: "low" }, y2: { field: "high" } } }] : []),
      { mark: { type: "point", filled: true, size: 55, opacity: 1 }, encoding: { y, shape, tooltip } }] };
  }

  const CONFIG = { view: { stroke: null }, axis: { gridColor: "#E8E8E8", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal" } };

  // one row of panels for this dataset, and one for the paper's where it is another
  function against(state, groups, room) {
    const columns = Math.max(1, Math.min(3, Math.floor(room / 280), state.models.length)), [name, digits] = METRICS[state.metric];
    const width = Math.min(520, Math.max(190, Math.floor(room / columns) - 85));
    const panels = groups.flatMap(([source, cells]) => state.models.map(model => {
      const rows = lines(cells.filter(c => c.model === model), state.designs).map(c => ({ ...c, size: sizeName(c.scale) }));
      return rows.length ? panel(groups.length > 1 ? `${model}, ${source}` : model, rows, name, width, digits) : null;
    })).filter(Boolean);
    return panels.length ? { columns, concat: panels, spacing: 30, config: CONFIG, resolve: { scale: { y: "independent", x: "independent" } } } : null;
  }

  function table(state, ours, theirs, paperName) {
    const digits = METRICS[state.metric][1], keys = new Map();
    for (const c of [...ours, ...theirs]) if (state.models.includes(c.model) && (state.designs.includes(c.design) || c.scale === 1))
      keys.set([c.model, c.design, c.scale].join(), c);
    const sorted = [...keys.values()].sort((a, b) => MODELS.indexOf(a.model) - MODELS.indexOf(b.model) || a.design.localeCompare(b.design) * -1 || a.scale - b.scale);
    const find = (cells, c) => cells.find(o => o.model === c.model && o.design === c.design && o.scale === c.scale);
    const head = ["model", "design", "size", "here", "95 % interval", "runs", `the paper${paperName ? `, ${capital(paperName)}` : ""}`];
    const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text, ...(tag === "th" ? { scope: "col" } : {}) });
    const row = (tag, texts) => { const tr = document.createElement("tr"); tr.append(...texts.map(t => cell(tag, t))); return tr; };
    const body = sorted.map(c => {
      const a = find(ours, c), b = find(theirs, c);
      return row("td", [c.model, c.scale === 1 ? "SE = ME" : c.design, sizeName(c.scale),
        a ? fixed(a.mean, digits) : "not run here", a && a.low != null ? `${fixed(a.low, digits)} … ${fixed(a.high, digits)}` : "–",
        a ? a.n + (a.failed ? `, ${a.failed} failed` : "") : "–",
        b ? fixed(b.mean, digits) + (state.metric === "test_auc" ? ` ± ${fixed(b.sd, digits)}` : "") : "not published"]);
    });
    byId("numbers").replaceChildren(row("th", head), ...body);
    return sorted.length;
  }

  function fields(rows, size, room) {
    const names = [...new Map(rows.map(r => [r.field, r.cardinality])).entries()].sort((a, b) => a[1] - b[1]).map(([name]) => name);
    const present = Object.keys(COLOURS).filter(d => rows.some(r => r.design === d));
    const number = (field, text) => ({ field, title: text, format: ".2f" });
    const tooltip = [{ field: "model" }, { field: "design" }, { field: "field" }, { field: "cardinality", format: "," },
                     number("mean", "abundance"), number("low", "95 %, from"), number("high", "95 %, to"), { field: "n", title: "runs" }];
    const colour = { field: "design", type: "nominal", scale: { domain: present, range: present.map(d => COLOURS[d]) }, legend: { orient: "bottom", title: null } };
    const shape = { ...colour, scale: { domain: present, range: present.map(d => SHAPES[d]) } };
    const y = { field: "field", type: "nominal", sort: names, title: null }, offset = { field: "design", type: "nominal", sort: present };
    const x = { field: "mean", type: "quantitative", title: `information abundance at ${sizeName(size)}`, scale: { zero: true } };
    const models = [...new Set(rows.map(r => r.model))], columns = Math.max(1, Math.min(models.length, Math.floor(room / 330)));
    const width = Math.min(420, Math.max(180, Math.floor(room / columns) - 130));
    return { columns, config: CONFIG, concat: models.map(model => ({
      title: { text: model, fontSize: 12 }, width, height: { step: 9 }, data: { values: rows.filter(r => r.model === model) },
      encoding: { y, yOffset: offset, color: colour }, layer: [
        { mark: { type: "rule", strokeWidth: 1.4 }, encoding: { x: { ...x, field: "low" }, x2: { field: "high" } } },
        { mark: { type: "point", filled: true, size: 40, opacity: 1 }, encoding: { x, shape, tooltip } }] })) };
  }

  const clear = (element, why) => { element.replaceChildren(); element.hidden = true; element.removeAttribute("data-drawn"); return why; };
  const put = (element, spec, label) => { element.hidden = false; element.setAttribute("aria-label", label); window.drawChart(element, spec); };

  function show() {
    tick();
    const state = chosen(), here = data[state.dataset], paperName = state.paper || (here.paper.length ? state.dataset : "");
    const pick = cells => cells.filter(c => c.metric === state.metric && c.mean != null);
    const ours = pick(here.cells).map(c => ({ ...c, source: "here" }));
    const theirs = paperName ? pick(data[paperName].paper).map(c => ({ ...c, source: "the paper" })) : [];
    const groups = paperName === state.dataset ? [["", [...ours, ...theirs]]] : [[state.dataset, ours], [`the paper on ${capital(paperName || " ")}`, theirs]];
    const room = Math.min(byId("choices").clientWidth, 760), [name] = METRICS[state.metric];
    const count = table(state, ours, theirs, paperName), spec = against(state, groups.filter(([, cells]) => cells.length), room);
    const missing = state.models.filter(m => !ours.some(c => c.model === m));
    const notRun = missing.length ? ` Not run here on ${state.dataset}: ${missing.join(", ")}.` : "";
    byId("said").textContent = !state.models.length || !state.designs.length ? "Choose at least one model and one design."
      : (count ? `${name}: ${count} cells.` : `${name}: nothing to show.`) + notRun;
    if (spec) put(byId("against"), spec, `${name} against model size on ${state.dataset}; the numbers are in the table below`);
    else clear(byId("against"));

    const all = here.fields.filter(f => state.models.includes(f.model)), sizes = [...new Set(all.map(f => f.scale))].sort((a, b) => a - b);
    const wanted = +(state.size || byId("size").dataset.wanted || 0), size = sizes.includes(wanted) ? wanted : sizes.at(-1);
    options(byId("size"), sizes.map(s => [s, sizeName(s)]));
    if (size) byId("size").value = size;
    byId("size").parentElement.hidden = !sizes.length;
    const rows = all.filter(f => f.scale === size && [...state.designs, "random"].includes(f.design === "SE" && size === 1 ? state.designs[0] : f.design));
    byId("fields-said").textContent = rows.length ? "" : `Not run here: there is no abundance by field for this choice on ${state.dataset}.`;
    if (rows.length) put(byId("fields"), fields(rows, size, room), `Information abundance of each field on ${state.dataset} at ${sizeName(size)}`);
    else clear(byId("fields"));
    write({ ...state, size: size ?? "" });
  }

  read();
  form.addEventListener("change", event => { touched ||= event.target.name === "models"; show(); });
  byId("size").addEventListener("change", show);
  addEventListener("hashchange", () => { read(); show(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (Math.abs(innerWidth - width) > 60) { width = innerWidth; show(); } });
  show();
});
