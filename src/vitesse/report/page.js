"use strict";
// Draws the figures that stand in the page as JSON, in the colours of the reader's style, and again when that changes.
(() => {
  const style = () => {
    const root = getComputedStyle(document.documentElement);
    const coloured = (value) => {
      if (typeof value === "string") return value.replace(/^var\((--[a-z-]+)\)$/, (_, name) => root.getPropertyValue(name).trim());
      if (Array.isArray(value)) return value.map(coloured);
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item)]));
      return value;
    };
    return coloured;
  };
  // The buttons are named, because plotly's own choice has one that sends the chart to its makers' cloud.
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  const options = { responsive: true, displaylogo: false, modeBarButtons: buttons, plotlyServerURL: "" };
  const plots = [...document.querySelectorAll(".plot")].map((element) => ({
    element,
    figure: JSON.parse(document.getElementById(element.dataset.figure).textContent),
    view: null,
  }));
  const draw = ({ element, figure, view }) => {
    const data = figure.data.map((trace, place) => view ? { ...trace, x: view.data.x[place], y: view.data.y[place] } : trace);
    const layout = { ...figure.layout, ...(view ? view.layout : {}) };
    const narrow = element.clientWidth < 520;
    if (narrow) {
      layout.margin = { ...layout.margin, l: 44, r: 6 };
      for (const trace of data) if (trace.marker && trace.marker.colorbar) trace.marker = { ...trace.marker, showscale: false };
    }
    // A copy, because plotly writes into what it is given.
    const { data: traces, layout: look } = style()(structuredClone({ data, layout }));
    return Plotly.react(element, traces, look, { ...options, displayModeBar: narrow ? false : "hover" });
  };
  for (const views of document.querySelectorAll(".views")) views.hidden = false;
  for (const plot of plots) {
    draw(plot);
    for (const input of document.querySelectorAll(`input[name="${plot.element.id}-view"]`)) {
      input.addEventListener("change", () => {
        plot.view = plot.figure.views.find(({ name }) => name === input.value);
        draw(plot);
      });
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
})();
