// @ts-check
// The prompts that were drawn in this browser, to use one again.

import { button, el, t } from "../kit/kit.js";
import { remembered } from "../kit/pieces.js";

const KEPT = "studio-prompts";
const MOST = 30;

export class History {
  /** @param {(prompt: string) => void} use */
  constructor(use) {
    this.use = use;
    this.title = el("summary", {}, t("play.history"));
    this.node = el(
      "details",
      {
        class: "st-history",
        id: "play-history",
        ontoggle: () => {
          this.show();
        },
      },
      this.title,
    );
  }

  /** @param {string[]} prompts the newest ones */
  keep(prompts) {
    const all = [...new Set([...prompts, ...earlier()])].slice(0, MOST);
    localStorage.setItem(KEPT, JSON.stringify(all));
    if (this.node.open) this.show();
  }

  show() {
    const prompts = earlier();
    if (!prompts.length) {
      this.node.replaceChildren(this.title, el("p", { class: "st-quiet" }, t("play.history_none")));
      return;
    }
    const tags = prompts.map((text) => button(text, { class: "st-tag", onclick: () => this.use(text) }));
    const forget = () => {
      localStorage.removeItem(KEPT);
      this.show();
    };
    const clear = button(t("play.history_clear"), { class: "st-button st-small", onclick: forget });
    this.node.replaceChildren(this.title, el("div", { class: "st-tags" }, ...tags), clear);
  }
}

/** The prompts of this browser, newest first. @returns {string[]} */
function earlier() {
  /** @type {unknown} */
  const prompts = remembered(KEPT, null);
  return Array.isArray(prompts) ? prompts.filter((text) => typeof text === "string") : [];
}
