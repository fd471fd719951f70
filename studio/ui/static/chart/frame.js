// @ts-check
// The frame of a chart: its title and tools, a place for each panel with the values above it, and what goes with it.

import { button, el, t } from "../kit/kit.js";
import { PANELS } from "./panels.js";
import { picture } from "./readings.js";

/** @import { Chart } from "./chart.js" */
/** @import { Panel } from "./plot.js" */

/** The parts of a chart that change. @param {Chart} chart */
export function frame(chart) {
  const reset = button(t("chart.reset"), {
    class: "st-button st-small",
    id: "chart-reset",
    hidden: true,
    onclick: () => chart.zoom(null),
  });
  const places = ofPanels((panel) =>
    el("div", {
      class: "st-plot",
      role: "img",
      id: `${panel === "grad_norm" ? "grad" : panel}-chart`,
      "aria-label": t("chart.alt_none"),
    }),
  );
  const heads = ofPanels(() => el("div", { class: "st-legend" }));
  const panels = el(
    "div",
    {
      class: "st-panels",
      id: "chart-panels",
      tabindex: 0,
      role: "application",
      "aria-label": t("chart.panels"),
      "aria-describedby": "chart-help",
      onkeydown: (event) => chart.key(event),
    },
    ...PANELS.map((panel) => el("div", {}, heads[panel], places[panel])),
  );
  const empty = el("p", { class: "st-quiet st-chart-empty" }, t("chart.none"));
  const spoken = el("p", { class: "st-sr", role: "status", "aria-live": "polite" });
  const node = el(
    "section",
    { class: "st-card st-chart", id: "chart" },
    el("div", { class: "st-card-head" }, el("h2", {}, t("chart.title")), tools(chart, reset)),
    empty,
    panels,
    spoken,
    foot(chart),
  );
  return { node, reset, empty, places, heads, panels, spoken };
}

/** @template Part @param {(panel: Panel) => Part} make @returns {Record<Panel, Part>} */
const ofPanels = (make) => ({ loss: make("loss"), lr: make("lr"), grad_norm: make("grad_norm") });

/** @param {Chart} chart @param {HTMLElement} reset */
function tools(chart, reset) {
  const { look } = chart;
  /** @param {string} key @param {string} sign @param {number} factor */
  const zoom = (key, sign, factor) =>
    button(sign, {
      class: "st-button st-small st-square",
      "aria-label": t(`chart.${key}`),
      title: t(`chart.${key}`),
      onclick: () => chart.scale(factor),
    });
  const slider = el("input", {
    type: "range",
    min: 0,
    max: 0.99,
    step: 0.01,
    value: look.weight,
    id: "chart-smooth",
    oninput: ({ currentTarget }) => chart.smoothBy(Number(currentTarget.value)),
  });
  /** @param {string} id @param {"logs" | "clips"} name */
  const box = (id, name) => {
    const changed = (/** @type {{ currentTarget: HTMLInputElement }} */ { currentTarget }) =>
      chart.turn(name, currentTarget.checked);
    const input = el("input", { type: "checkbox", id, checked: look[name], onchange: changed });
    return el("label", { for: id }, input, t(`chart.${name}`));
  };
  return el(
    "div",
    { class: "st-tools" },
    reset,
    zoom("zoom_in", "+", 0.5),
    zoom("zoom_out", "−", 2),
    el("label", { for: "chart-smooth" }, t("chart.smooth"), slider),
    box("chart-log", "logs"),
    box("chart-clip", "clips"),
  );
}

/** @param {Chart} chart */
function foot(chart) {
  const href = `api/runs/${chart.id}/series.csv`;
  const take = { class: "st-button st-small", id: "chart-png", onclick: () => picture(chart) };
  return el(
    "div",
    { class: "st-card-foot" },
    el("p", { class: "st-quiet st-small-text", id: "chart-help" }, t("chart.help")),
    el(
      "div",
      { class: "st-actions" },
      chart.compare.button,
      el("a", { class: "st-button st-small", id: "chart-csv", download: true, href }, t("chart.csv")),
      button(t("chart.png"), take),
    ),
  );
}
