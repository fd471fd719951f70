// @ts-check
// Choosing the runs whose curves are shown beside a run's own.

import { attempt, button, call, el, number, t, when, whole } from "../kit/kit.js";
import { titled } from "../kit/pieces.js";
import { note, noted } from "../kit/route.js";
import { MOST } from "./tracks.js";

/** @import { Run } from "../../types/api.js" */
/** @import { Chart } from "./chart.js" */

export class Compare {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    this.button = button(t("compare.button"), {
      class: "st-button st-small",
      id: "chart-compare",
      onclick: () => {
        this.open();
      },
    });
  }

  /** The runs the URL names. */
  async recall() {
    const ids = (noted("with") ?? "").split(",").filter(Boolean);
    if (!ids.length) return;
    const { items } = (await call("runs?limit=200")).data;
    const runs = ids.map((id) => items.find((run) => run.id === id)).filter((run) => run !== undefined);
    await this.chart.beside(runs.map(named));
  }

  async open() {
    const answer = await attempt(() => call("runs?limit=200"));
    if (!answer) return;
    const runs = answer.data.items.filter((run) => run.id !== this.chart.id && run.step > 0);
    const chosen = new Set(this.chart.others.ids);
    const list = picks(runs, chosen);
    const close = () => {
      dialog.close();
      dialog.remove();
    };
    const show = () => {
      close();
      this.take(runs.filter((run) => chosen.has(run.id)));
    };
    const go = button(t("compare.show"), { class: "st-button st-primary", id: "compare-show", onclick: show });
    const actions = [button(t("app.close"), { onclick: close }), runs.length ? go : null];
    const dialog = el(
      "dialog",
      { class: "st-dialog st-wide-dialog", "aria-label": t("compare.title"), oncancel: close },
      el("h2", {}, t("compare.title")),
      el("p", { class: "st-quiet" }, runs.length ? t("compare.help") : t("compare.none")),
      list,
      el("div", { class: "st-actions" }, ...actions),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  /** @param {Run[]} runs */
  take(runs) {
    note("with", runs.map((run) => run.id).join(",") || null);
    attempt(() => this.chart.beside(runs.map(named)));
  }
}

/** @param {Run} run */
const named = (run) => ({ id: run.id, name: titled(run) });

/** The runs to choose from; a tick goes into `chosen`. @param {Run[]} runs @param {Set<string>} chosen */
function picks(runs, chosen) {
  const boxes = runs.map((run) => {
    const box = el("input", { type: "checkbox", checked: chosen.has(run.id) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(run.id);
      else chosen.delete(run.id);
      limit();
    });
    return { run, box };
  });
  const limit = () => {
    for (const { box } of boxes) box.disabled = !box.checked && chosen.size >= MOST - 1;
  };
  limit();
  return el("div", { class: "st-picks" }, ...boxes.map(({ run, box }) => pick(run, box)));
}

/** @param {Run} run @param {HTMLInputElement} box */
function pick(run, box) {
  const facts = { steps: whole(run.step), loss: number(run.loss), when: when(run.created) };
  const words = el("span", {}, el("strong", {}, titled(run)), el("small", {}, t("compare.facts", facts)));
  return el("label", { class: "st-pick" }, box, words);
}
