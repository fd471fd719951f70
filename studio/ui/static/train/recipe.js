// @ts-check
// The form as JSON and as a command to copy, and as a preset, here and as a file.

import { LONGEST } from "../kit/facts.js";
import { attempt, button, call, el, t } from "../kit/kit.js";
import { copy, placeIn, submitting } from "../kit/pieces.js";
import { PRESET } from "./dropped.js";

/** @import { Config, Preset } from "../../types/api.js" */
/** @import { Bridge } from "../../types/page.js" */
/** @typedef {{ config?: Config, command?: string, preset?: Config }} Recipe */

/** @param {Element} root @param {Bridge<Recipe>} bridge */
export function mount(root, bridge) {
  const place = placeIn(root);
  const json = el("pre", { id: "config-json", tabindex: "0" });
  const line = el("code", { id: "config-command" });
  const draw = () => {
    const { config = {}, command = "" } = bridge.value() ?? {};
    json.textContent = JSON.stringify(config, null, 2);
    line.textContent = command;
  };
  place.replaceChildren(
    copied("train.recipe_json", json, "copy-json"),
    copied("train.recipe_command", line, "copy-command"),
    presets(bridge),
  );
  bridge.watch(draw);
  draw();
}

/** @param {string} text @param {() => unknown} onclick @param {string} id */
const small = (text, onclick, id) => button(text, { class: "st-button st-small", id, onclick });

/** A text with its heading and a button that copies it. @param {string} title @param {HTMLElement} node
 * @param {string} id of the button */
function copied(title, node, id) {
  const take = small(t("app.copy"), () => copy(node.textContent ?? ""), id);
  return el("div", { class: "st-command" }, el("h3", {}, t(title)), node, take);
}

/** One's own presets, and keeping the form as a further one. @param {Bridge<Recipe>} bridge */
function presets(bridge) {
  const list = el("ul", { class: "st-found", id: "own-presets" });
  const name = el("input", {
    type: "text",
    id: "preset-name",
    "aria-label": t("train.preset_name"),
    maxlength: LONGEST.preset_name,
    placeholder: t("train.preset_name"),
    autocomplete: "off",
  });
  const load = async () => {
    const { data } = await call("presets");
    const mine = data.items.filter((preset) => preset.own);
    list.replaceChildren(...mine.map((preset) => row(preset, changed)));
  };
  const changed = () => {
    bridge.send("presets_changed", {});
    load();
  };
  const keep = () =>
    attempt(async () => {
      const body = { name: name.value, config: bridge.value()?.preset ?? {} };
      await call("presets", { method: "POST", body });
      name.value = "";
      changed();
    });
  window.addEventListener("studio:presets", load);
  load();
  const save = small(t("train.preset_save"), keep, "save-preset");
  return el(
    "div",
    { class: "st-command" },
    el("h3", {}, t("train.preset_title")),
    el("form", { class: "st-inline", onsubmit: submitting(keep) }, name, save),
    list,
    el("p", { class: "st-quiet" }, t("train.preset_help")),
  );
}

/** @param {Preset} preset @param {() => void} changed */
function row(preset, changed) {
  /** @param {string} key @param {() => unknown} onclick */
  const link = (key, onclick) => button(t(key, { name: preset.name }), { class: "st-link", onclick });
  const remove = () =>
    attempt(async () => {
      await call(`presets/${preset.id}`, { method: "DELETE" });
      changed();
    });
  return el(
    "li",
    {},
    el("span", {}, preset.name),
    " ",
    link("train.preset_export", () => keepFile(preset)),
    " ",
    link("train.preset_delete", remove),
  );
}

/** A preset as a file for others: dropped on their page, it is kept among their goals. @param {Preset} preset */
function keepFile({ name, config }) {
  const text = JSON.stringify({ [PRESET]: 1, name, config }, null, 2);
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href, download: `${name.replace(/[^\p{L}\p{N}._-]+/gu, "-")}.preset.json` }).click();
  URL.revokeObjectURL(href);
}
