// Choosing the runs whose curves are shown beside a run's own.

import { note, noted } from "./app.js";
import { attempt, call, el, number, t, when, whole } from "./kit.js";
import { titled } from "./parts.js";
import { MOST } from "./tracks.js";

export class Compare {
  constructor(chart) {
    this.chart = chart;
    this.button = el("button", { type: "button", class: "st-button st-small", id: "chart-compare",
      onclick: () => this.open() }, t("compare.button"));
  }

  /** The runs the URL names. */
  async recall() {
    const wanted = (noted("with") ?? "").split(",").filter(Boolean);
    if (!wanted.length) return;
    const { items } = (await call("runs?limit=200")).data;
    await this.chart.beside(wanted.map((id) => items.find((run) => run.id === id)).filter(Boolean)
      .map((run) => ({ id: run.id, name: titled(run) })));
  }

  async open() {
    const answer = await attempt(() => call("runs?limit=200"));
    if (!answer) return;
    const runs = answer.data.items.filter((run) => run.id !== this.chart.id && run.step > 0);
    const chosen = new Set(this.chart.others.ids);
    const list = el("div", { class: "st-picks" }, runs.map((run) => this.choice(run, chosen, () => limit())));
    const limit = () => list.querySelectorAll("input").forEach((box) => { box.disabled = !box.checked && chosen.size >= MOST - 1; });
    const close = () => { dialog.close(); dialog.remove(); };
    const dialog = el("dialog", { class: "st-dialog st-wide-dialog", "aria-label": t("compare.title"), oncancel: close },
      el("h2", {}, t("compare.title")), el("p", { class: "st-quiet" }, runs.length ? t("compare.help") : t("compare.none")), list,
      el("div", { class: "st-actions" },
        el("button", { type: "button", class: "st-button", onclick: close }, t("app.close")),
        runs.length ? el("button", { type: "button", class: "st-button st-primary", id: "compare-show", onclick: () => {
          close();
          this.take(runs.filter((run) => chosen.has(run.id)));
        } }, t("compare.show")) : null));
    limit();
    document.body.append(dialog);
    dialog.showModal();
  }

  choice(run, chosen, changed) {
    const box = el("input", { type: "checkbox", checked: chosen.has(run.id), onchange: () => {
      if (box.checked) chosen.add(run.id);
      else chosen.delete(run.id);
      changed();
    } });
    return el("label", { class: "st-pick" }, box, el("span", {}, el("strong", {}, titled(run)),
      el("small", {}, t("compare.facts", { steps: whole(run.step), loss: number(run.loss), when: when(run.created) }))));
  }

  take(runs) {
    note("with", runs.map((run) => run.id).join(",") || null);
    attempt(() => this.chart.beside(runs.map((run) => ({ id: run.id, name: titled(run) }))));
  }
}
