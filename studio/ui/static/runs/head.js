// @ts-check
// The head of a run's page: its name, which can be changed, what it learns, and its state.

import { LONGEST } from "../kit/facts.js";
import { attempt, button, call, el, t } from "../kit/kit.js";
import { badge, submitting, titled } from "../kit/pieces.js";

/** @import { Run } from "../../types/api.js" */

export class Head {
  /**
   * @param {string} id of the run
   * @param {HTMLElement} notify the button of notifications
   * @param {(name: string) => void} renamed
   */
  constructor(id, notify, renamed) {
    this.id = id;
    this.notify = notify;
    this.renamed = renamed;
    this.renaming = false;
    /** @type {Run | null} */
    this.record = null;
    this.title = el("h1", { id: "run-title" });
    this.rename = button(t("run.rename"), {
      class: "st-button st-small",
      id: "run-rename",
      onclick: () => {
        this.edit();
      },
    });
    this.node = el("div", { class: "st-run-head" });
  }

  /** @param {Run} record */
  show(record) {
    this.record = record;
    document.title = `${titled(record)} · ${t("app.title")}`;
    if (this.renaming) {
      this.node.lastChild?.replaceWith(badge(record.state));
      return;
    }
    this.title.replaceChildren(titled(record));
    this.rename.hidden = false;
    const facts = [record.dataset?.name, record.config?.model?.base].filter(Boolean).join(" · ");
    const tryIt = { class: "st-button st-small", id: "run-try", href: `?play=${this.id}` };
    const draw = record.checkpoints?.length ? el("a", tryIt, t("run.try")) : null;
    const actions = el("div", { class: "st-actions" }, this.rename, draw, this.notify);
    const words = el("div", {}, this.title, el("p", { class: "st-quiet" }, facts), actions);
    this.node.replaceChildren(words, badge(record.state));
  }

  /** The title as a field: Enter keeps the new name, Escape the old one. */
  edit() {
    const input = el("input", {
      type: "text",
      id: "run-new-name",
      maxlength: LONGEST.name,
      autocomplete: "off",
      "aria-label": t("run.name"),
      value: this.record?.name ?? "",
    });
    const form = el(
      "form",
      {
        class: "st-inline-form",
        id: "run-rename-form",
        onkeydown: (event) => {
          if (event.key === "Escape") this.leave();
        },
        onsubmit: submitting(() => this.keep(input.value.trim())),
      },
      input,
      el("button", { type: "submit", class: "st-button st-small st-primary" }, t("run.rename")),
    );
    this.renaming = true;
    this.title.replaceChildren(form);
    this.rename.hidden = true;
    input.select();
  }

  /** @param {string} name */
  async keep(name) {
    if (!name) return;
    const answer = await attempt(() => call(`runs/${this.id}`, { method: "PATCH", body: { name } }));
    if (!answer || !this.node.isConnected) return;
    this.renamed(answer.data.name);
    this.leave();
  }

  leave() {
    this.renaming = false;
    if (this.record) this.show(this.record);
    this.rename.focus();
  }
}
