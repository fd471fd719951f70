// For which training pictures are looked at: the base, the picture size, buckets. Begins as the page *Train* has them.

import { el, t } from "./kit.js";

export class Aim {
  constructor() {
    const kept = window.studioDraft.kept();
    this.base = String(kept["model.base"] || "");
    this.resolution = Number(kept["data.resolution"]) || null;
    this.buckets = kept["data.buckets"] === true;
    this.fields = [];
  }

  /** As requests have it: what is left empty is the studio's own choice. */
  get wanted() {
    return { ...(this.base ? { base: this.base } : {}), ...(this.resolution ? { resolution: this.resolution } : {}) };
  }

  /** The fields for a part of the page; `changed` is called when a person has changed one while that part shows. */
  draw(part, changed) {
    const set = (name, value) => {
      this[name] = value;
      this.show();
      for (const one of this.fields) if (one.base.isConnected) one.changed();
    };
    const base = el("input", { type: "text", id: `${part}-base`, maxlength: 300, autocomplete: "off", spellcheck: "false",
      placeholder: t("train.embedded"), onchange: () => set("base", base.value.trim()) });
    const resolution = el("input", { type: "number", id: `${part}-resolution`, min: 8, max: 8192, step: 8,
      placeholder: t("see.resolution_empty"), onchange: () => set("resolution", Number(resolution.value) || null) });
    const buckets = el("input", { type: "checkbox", id: `${part}-buckets`, onchange: () => set("buckets", buckets.checked) });
    this.fields.push({ base, resolution, buckets, changed });
    this.show();
    return { base: el("label", {}, t("setting.model.base"), base), resolution: el("label", {}, t("see.resolution"), resolution),
      buckets: el("label", { class: "st-check" }, buckets, t("setting.data.buckets")) };
  }

  show() {
    for (const { base, resolution, buckets } of this.fields) {
      base.value = this.base === "embedded" ? "" : this.base;
      resolution.value = this.resolution ?? "";
      buckets.checked = this.buckets;
    }
  }
}
