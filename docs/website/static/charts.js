// Charts that take the place of their pictures when they come near the window and the browser is idle, follow the theme, and
// need no other host.
(() => {
  const root = new URL("../", document.currentScript.src), waiting = {};
  const load = src => waiting[src] ??= new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { src, onload: done, onerror: failed });
    document.head.append(script);
  });

  const dark = () => {
    const chosen = document.body.dataset.theme;
    return chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  };

  // On dark, greys change places and pale colours that name things become deep ones; other colours stay,
  // and so does what is written on a coloured cell (a conditional colour).
  const grey = /^#([0-9a-f]{1,2})\1\1$/i, named = { white: "#ffffff", black: "#000000" };
  const channels = hex => hex.match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
  const joined = parts => "#" + parts.map(part => Math.round(part).toString(16).padStart(2, "0")).join("");
  const moved = (hex, nominal) => {
    const parts = channels(hex), sum = parts[0] + parts[1] + parts[2];
    if (nominal) return sum < 600 ? hex : joined(parts.map(part => .35 * part));
    return sum < 160 ? joined(parts.map(part => .5 * part + 110)) : hex; // the dark end of a ramp that lines are drawn in
  };
  const mirrored = (value, written, nominal) => {
    if (typeof value === "string") {
      const hex = grey.exec(named[value] ?? value);
      if (!hex) return (nominal || !written) && /^#[0-9a-f]{6}$/i.test(value) ? moved(value, nominal) : value;
      const shade = 0x16 + (255 - parseInt(hex[1].padEnd(2, hex[1]), 16)) * (0xec - 0x16) / 255;
      return joined([shade, shade, shade]);
    }
    if (Array.isArray(value)) return value.map(part => mirrored(part, written, nominal));
    if (!value || typeof value !== "object" || value.condition) return value;
    const below = nominal || value.type === "nominal";
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, ["data", "datasets"].includes(k) ? v : mirrored(v, written, below)]));
  };
  const ink = { title: "#ececec", axis: "#cfcfcf", legend: "#cfcfcf" };
  const themed = spec => {
    if (!dark()) return { ...spec, background: "transparent" };
    const made = mirrored(spec, JSON.stringify(spec).includes('"condition"')), config = made.config ?? {};
    return { ...made, background: "transparent", config: { ...config,
      axis: { labelColor: ink.axis, titleColor: ink.axis, tickColor: "#888888", ...config.axis },
      legend: { labelColor: ink.legend, titleColor: ink.legend, ...config.legend },
      title: { color: ink.title, subtitleColor: ink.axis, ...config.title },
      header: { labelColor: ink.axis, titleColor: ink.axis, ...config.header },
      text: { color: ink.title, ...config.text } } };
  };

  // On a phone, panels stand below each other and titles break more often.
  const narrow = () => innerWidth < 560;
  const folded = (lines, length) => [].concat(lines).join(" ").split(" ").reduce((made, word) => {
    const last = made.at(-1);
    return last !== undefined && last.length + word.length < length ? [...made.slice(0, -1), `${last} ${word}`] : [...made, word];
  }, []);
  const fitted = spec => {
    if (!narrow()) return spec;
    const { text, subtitle, ...rest } = spec.title ?? {}, letters = innerWidth - 40; // pixels for a line; a letter takes so much of its size
    const title = text && { ...rest, text: folded(text, letters / (.64 * (rest.fontSize ?? 13))),
                            ...(subtitle && { subtitle: folded(subtitle, letters / (.56 * (rest.subtitleFontSize ?? 11))) }) };
    return { ...spec, ...(title && { title }), ...(spec.columns && { columns: 1 }) };
  };
  const look = () => (dark() ? "dark" : "light") + (narrow() ? " narrow" : "");

  const shown = new Map();
  async function draw(element, spec) {
    await load(new URL("_static/vega.js", root).href);
    shown.set(element, spec);
    const keep = Object.assign(document.createElement("div"), { className: "drawing" });
    const options = { mode: "vega-lite", actions: false, renderer: "svg", tooltip: { theme: dark() ? "dark" : "light" } };
    const result = await vegaEmbed(keep, themed(fitted(spec)), options);
    const svg = keep.querySelector("svg");
    if (svg) svg.style.cssText = "max-width:100%;height:auto;min-width:" + Math.min(480, svg.getAttribute("width")) + "px";
    element.replaceChildren(keep);
    element.dataset.drawn = look();
    return result;
  }
  // the page and the chart's picture come first; what answers to the pointer is heavier and can wait
  const loaded = document.readyState === "complete" ? Promise.resolve() : new Promise(done => addEventListener("load", done, { once: true }));
  const idle = () => new Promise(done => window.requestIdleCallback ? requestIdleCallback(done, { timeout: 1000 }) : setTimeout(done, 100));
  async function start(element, patient) {
    try {
      if (patient) {
        await loaded;
        await element.querySelector("img")?.decode().catch(() => {});
        await idle();
      }
      await load(new URL(element.dataset.src, document.baseURI).href);
      await draw(element, window.charts[element.dataset.chart]);
    } catch (error) {
      console.error(error); // the picture stays
    }
  }
  window.drawChart = draw;

  const near = new IntersectionObserver(entries => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); start(target, true); }
  }, { rootMargin: "300px" });
  document.querySelectorAll(".canvas[data-chart]").forEach(element => near.observe(element));

  const redraw = () => shown.forEach((spec, element) => {
    if (element.dataset.drawn !== look()) draw(element, spec);
  });
  new MutationObserver(redraw).observe(document.body, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", redraw);
  addEventListener("beforeprint", () => document.querySelectorAll(".canvas[data-chart]:not([data-drawn])").forEach(element => start(element, false)));

  // what scrolls sideways can be scrolled with the keyboard
  document.querySelectorAll("div.highlight pre, .table-wrapper, mjx-container[display]").forEach(box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  // a link to what is in a fold opens it
  const reveal = () => {
    const place = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let fold = place ? place.closest("details") : null;
    if (!fold) return;
    for (; fold; fold = fold.parentElement.closest("details")) fold.open = true;
    place.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  // a page that was served knows its host, and can be asked for the archive; one that was opened from a file cannot
  const served = document.querySelector("[data-served]");
  if (served && location.protocol.startsWith("http")) {
    served.textContent = served.dataset.served.replace("@HERE@", new URL(".", location.href).href.replace(/\/$/, ""));
    document.getElementById("from-file").hidden = true;
  }
})();
