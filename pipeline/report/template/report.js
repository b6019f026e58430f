// Curves and projections of the report. Text from the dataset is inserted as text, never as HTML.
"use strict";
(() => {
  const { graphs, points, atlas } = JSON.parse(document.getElementById("data").textContent);
  const INK = "#22262b", RULE = "#d9dde2";
  const FONT = { family: "system-ui, sans-serif", size: 12, color: INK };
  const CONFIG = { displaylogo: false, responsive: true, showTips: false, doubleClickDelay: 400 };
  const coarse = matchMedia("(pointer: coarse)").matches;

  // ---- curves
  const axis = (own, title) => ({
    gridcolor: "#eceef1", linecolor: RULE, zeroline: false, fixedrange: true, automargin: true,
    ...own, title: { standoff: 8, ...(own?.title ?? title) },
  });
  const viewSelect = (views, label, show) => {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    select.append(...views.map(({ name }, number) => new Option(name, number)));
    select.addEventListener("change", () => show(views[select.value]));
    return select;
  };
  for (const place of document.querySelectorAll("[data-graph]")) {
    const { views, layout } = graphs[place.dataset.graph];
    const show = ({ traces }) => Plotly.react(place, traces, {
      margin: { l: 48, r: 12, t: 10, b: 40 }, font: FONT, hovermode: "x unified", dragmode: false,
      hoverlabel: { font: { size: 12 } },
      showlegend: traces.length > 1,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
      ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    }, { ...CONFIG, displayModeBar: false });
    show(views[0]);
    if (views.length > 1) place.previousElementSibling.append(viewSelect(views, place.getAttribute("aria-label"), show));
  }

  // ---- projections
  const plot = document.getElementById("projection");
  const controls = document.getElementById("controls").elements;
  const legend = document.getElementById("legend");
  const note = document.getElementById("projection-note");
  const hover = document.getElementById("hover");
  const webgl = (() => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  })();
  const categories = points.legend.map((name, key) => ({ name, key }));
  if (points.keys.includes(-1)) categories.unshift({ name: "others", key: -1 });
  const rowsOf = new Map(categories.map(({ key }) => [key, []]));
  points.keys.forEach((key, row) => rowsOf.get(key).push(row));
  const color = (key) => (key < 0 ? points.other : points.colors[key % points.colors.length]);
  const hasSecondMarker = (key) => key >= points.colors.length;
  const selected = new Set(); // categories that were pressed in the legend; empty: all are shown
  let current = -1; // the image that the arrow keys have reached; -1: none

  const currentView = () => {
    const method = controls.method.value;
    const has3d = webgl && "3" in points.layouts[method];
    for (const input of controls.axes) input.disabled = input.value === "3" && !has3d;
    const axes = has3d ? controls.axes.value : "2";
    return { method, model: controls.model.value, axes, columns: points.layouts[method][axes][controls.model.value] };
  };

  const scatter = ({ columns, axes }) => categories.map(({ name, key }) => {
    const rows = rowsOf.get(key);
    const faded = selected.size > 0 && !selected.has(key);
    const size = points.ids.length > 1500 ? 5 : 7;
    const at = (column) => rows.map((row) => column[row]);
    return {
      type: axes === "3" ? "scatter3d" : "scatter", mode: "markers", name, customdata: rows,
      x: at(columns[0]), y: at(columns[1]), ...(axes === "3" ? { z: at(columns[2]) } : {}),
      hoverinfo: faded ? "skip" : "none",
      opacity: faded ? 0.08 : 0.85,
      marker: {
        color: color(key), size: axes === "3" ? size * 0.6 : size, line: { width: 0 },
        symbol: hasSecondMarker(key) ? (axes === "3" ? "diamond" : "triangle-up") : "circle",
      },
    };
  });

  const ring = ({ columns, axes }) => ({
    type: axes === "3" ? "scatter3d" : "scatter", mode: "markers", hoverinfo: "skip",
    x: current < 0 ? [] : [columns[0][current]], y: current < 0 ? [] : [columns[1][current]],
    ...(axes === "3" ? { z: current < 0 ? [] : [columns[2][current]] } : {}),
    marker: { symbol: "circle-open", color: INK, size: axes === "3" ? 10 : 15, line: { width: 2 } },
  });

  const layoutOf = ({ axes }) => {
    const hidden = { visible: false, showspikes: false };
    const common = {
      margin: { l: 0, r: 0, t: 0, b: 0 }, font: FONT, showlegend: false, hovermode: "closest", hoverdistance: 12,
    };
    if (axes === "3") {
      const wall = {
        title: { text: "" }, showticklabels: false, showspikes: false, gridcolor: "#e4e7eb", zeroline: false,
      };
      return { ...common, uirevision: "3", scene: { xaxis: wall, yaxis: wall, zaxis: wall, aspectmode: "data" } };
    }
    // On a phone, dragging scrolls the page, so only the buttons zoom.
    return {
      ...common, dragmode: coarse ? false : "zoom", modebar: { orientation: "v" },
      xaxis: hidden, yaxis: { ...hidden, scaleanchor: "x" },
    };
  };

  const draw = () => {
    const view = currentView();
    const variance = view.method === "pca" ? points.notes[view.model]?.[view.axes] : "";
    note.textContent = [
      variance,
      !webgl && "3-D needs WebGL, which this browser does not have.",
      webgl && !("3" in points.layouts[view.method]) && "t-SNE is computed in 2-D only.",
    ].filter(Boolean).join(" ");
    const label = (name) => document.querySelector(`input[name=${name}]:checked + span`).textContent;
    document.getElementById("projection-view").textContent = `Shown: ${label("model")}, ${label("method")}.`;
    plot.dataset.view = `${view.model} ${view.method} ${view.axes}`;
    return Plotly.react(plot, [...scatter(view), ring(view)], layoutOf(view), {
      ...CONFIG, displayModeBar: true, scrollZoom: "gl3d",
      modeBarButtons: view.axes === "3" ? [["resetCameraDefault3d"]] : [["zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d"]],
    });
  };

  // ---- the card with the image
  const showCard = (row, x, y) => {
    const [image, name, group, id] = hover.children;
    image.style.setProperty("--column", row % atlas.columns);
    image.style.setProperty("--row", Math.floor(row / atlas.columns));
    image.setAttribute("aria-label", points.classes[row]);
    name.textContent = points.classes[row];
    group.textContent = points.groups[row] === points.classes[row] ? "" : points.groups[row];
    id.textContent = points.ids[row];
    hover.hidden = false;
    hover.dataset.row = row;
    const { width, height } = hover.getBoundingClientRect();
    const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
    hover.style.left = `${Math.max(6, Math.min(left, innerWidth - width - 6))}px`;
    hover.style.top = `${Math.max(6, Math.min(y - height / 2, innerHeight - height - 6))}px`;
  };
  const hideCard = () => { hover.hidden = true; };

  let pointer = { x: 0, y: 0 };
  for (const kind of ["pointermove", "pointerdown"]) {
    plot.addEventListener(kind, (event) => { pointer = { x: event.clientX, y: event.clientY }; }, true);
  }
  const showPoint = ({ points: [point] }) => {
    if (point?.customdata !== undefined) showCard(point.customdata, pointer.x, pointer.y);
  };
  const listen = () => {
    plot.on("plotly_hover", showPoint);
    plot.on("plotly_click", showPoint);
    plot.on("plotly_unhover", () => { if (!coarse) hideCard(); });
  };
  addEventListener("scroll", hideCard, { passive: true });
  addEventListener("pointerdown", (event) => { if (!plot.contains(event.target)) hideCard(); });

  const step = (by) => {
    const rows = selected.size ? points.keys.flatMap((key, row) => (selected.has(key) ? [row] : [])) : [...points.keys.keys()];
    const place = rows.indexOf(current);
    current = rows[place < 0 ? 0 : (place + by + rows.length) % rows.length];
    draw();
    const { left, top } = plot.getBoundingClientRect();
    showCard(current, left, top + 110);
  };
  const deselect = () => {
    hideCard();
    if (current < 0) return;
    current = -1;
    draw();
  };
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      step(by);
    } else if (event.key === "Escape") {
      deselect();
    }
  });
  plot.addEventListener("blur", deselect);

  // ---- legend and switches
  for (const { name, key } of categories) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    const shape = hasSecondMarker(key) ? '<path d="M6 1 L11 10.5 L1 10.5 Z"/>' : '<circle cx="6" cy="6" r="5"/>';
    button.innerHTML = `<svg viewBox="0 0 12 12" aria-hidden="true" fill="${color(key)}">${shape}</svg>`;
    button.append(name);
    button.title = name; // a long one is cut
    button.addEventListener("click", () => {
      if (!selected.delete(key)) selected.add(key);
      button.setAttribute("aria-pressed", String(selected.has(key)));
      draw();
    });
    legend.append(button);
  }
  document.getElementById("controls").addEventListener("change", () => { hideCard(); draw(); });
  document.getElementById("controls").reset();
  draw();
  listen();

  // ---- print: all details are open, graphs fill their place, the projection is in 2-D
  let closed = [], was3d = false;
  addEventListener("beforeprint", () => {
    hideCard();
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
    was3d = currentView().axes === "3";
    if (was3d) {
      controls.axes.value = "2";
      draw();
    }
    for (const drawing of document.querySelectorAll(".plot .main-svg")) {
      const [width, height] = ["width", "height"].map((side) => parseFloat(drawing.getAttribute(side)));
      drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
      drawing.closest(".plot").style.setProperty("--shape", width / height);
    }
  });
  addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
    for (const drawing of document.querySelectorAll(".plot .main-svg")) drawing.removeAttribute("viewBox");
    if (was3d) {
      controls.axes.value = "3";
      draw();
    }
  });
})();
