// @ts-check
// For which training pictures are looked at: the base, the picture size, buckets. Begins as the page *Train* has them.

import { el, t } from "../kit/kit.js";

/** @typedef {{ base: HTMLInputElement, resolution: HTMLInputElement, buckets: HTMLInputElement }} Fields */

const EMBEDDED = "embedded"; // the base that is shipped, which an empty field means

export class Aim {
  constructor() {
    const draft = window.studioDraft.kept();
    this.base = String(draft["model.base"] || "");
    /** @type {number | null} */
    this.resolution = Number(draft["data.resolution"]) || null;
    this.buckets = draft["data.buckets"] === true;
    /** The fields of each part of the page, and whom to tell. @type {{ fields: Fields, changed: () => void }[]} */
    this.parts = [];
  }

  /** As requests have it: what is left empty is the studio's own choice. */
  get query() {
    /** @type {Record<string, string>} */
    const query = {};
    if (this.base) query.base = this.base;
    if (this.resolution) query.resolution = String(this.resolution);
    return query;
  }

  /** As JSON has it. */
  get asJson() {
    const { base, resolution } = this;
    return { ...(base ? { base } : {}), ...(resolution ? { resolution } : {}) };
  }

  /** The fields for a part of the page; `changed` is called when a person has changed one while that part shows.
   * @param {string} part @param {() => void} changed */
  draw(part, changed) {
    const base = el("input", {
      type: "text",
      id: `${part}-base`,
      maxlength: 300,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: t("train.embedded"),
      onchange: ({ currentTarget }) => this.set({ base: currentTarget.value.trim() }),
    });
    const resolution = el("input", {
      type: "number",
      id: `${part}-resolution`,
      min: 8,
      max: 8192,
      step: 8,
      placeholder: t("see.resolution_empty"),
      onchange: ({ currentTarget }) => this.set({ resolution: Number(currentTarget.value) || null }),
    });
    const buckets = el("input", {
      type: "checkbox",
      id: `${part}-buckets`,
      onchange: ({ currentTarget }) => this.set({ buckets: currentTarget.checked }),
    });
    this.parts.push({ fields: { base, resolution, buckets }, changed });
    this.show();
    return {
      base: el("label", {}, t("setting.model.base"), base),
      resolution: el("label", {}, t("see.resolution"), resolution),
      buckets: el("label", { class: "st-check" }, buckets, t("setting.data.buckets")),
    };
  }

  /** @param {{ base?: string, resolution?: number | null, buckets?: boolean }} change */
  set(change) {
    Object.assign(this, change);
    this.show();
    for (const { fields, changed } of this.parts) {
      if (fields.base.isConnected) changed();
    }
  }

  show() {
    for (const { fields } of this.parts) {
      fields.base.value = this.base === EMBEDDED ? "" : this.base;
      fields.resolution.value = this.resolution === null ? "" : String(this.resolution);
      fields.buckets.checked = this.buckets;
    }
  }
}
