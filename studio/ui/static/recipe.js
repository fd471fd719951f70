// The form as JSON and as a command to copy, and keeping it as a preset, here and as a file; files dropped anywhere bring settings back.

import { attempt, call, el, t } from "./kit.js";
import { copy } from "./parts.js";

const PRESET = "studio_preset"; // what marks a preset's file, with the number of its layout
const KEY = "studio_config"; // in the metadata of every weight file that was taken home

export function mount(root, bridge) {
  const place = root.querySelector(".st-live");
  const json = el("pre", { id: "config-json", tabindex: "0" });
  const line = el("code", { id: "config-command" });
  const name = el("input", { type: "text", id: "preset-name", "aria-label": t("train.preset_name"), maxlength: "100",
    placeholder: t("train.preset_name"), autocomplete: "off" });
  const own = el("ul", { class: "st-found", id: "own-presets" });
  const button = (key, onclick, id) => el("button", { type: "button", class: "st-button st-small", id, onclick }, t(key));
  const changed = () => { bridge.send("presets_changed", {}); list(); };
  const keep = () => attempt(async () => {
    await call("presets", { method: "POST", body: { name: name.value, config: bridge.value()?.preset ?? {} } });
    name.value = "";
    changed();
  });
  const link = (key, one, onclick) => el("button", { type: "button", class: "st-link", onclick }, t(key, { name: one.name }));
  const list = async () => {
    const { data } = await call("presets");
    own.replaceChildren(...data.items.filter((one) => one.own).map((one) => el("li", {}, el("span", {}, one.name), " ",
      link("train.preset_export", one, () => keepFile(one)), " ",
      link("train.preset_delete", one, () => attempt(async () => {
        await call(`presets/${one.id}`, { method: "DELETE" });
        changed();
      })))));
  };
  window.addEventListener("studio:presets", list);
  place.replaceChildren(
    el("div", { class: "st-command" }, el("h3", {}, t("train.recipe_json")), json,
      button("app.copy", () => copy(json.textContent), "copy-json")),
    el("div", { class: "st-command" }, el("h3", {}, t("train.recipe_command")), line,
      button("app.copy", () => copy(line.textContent), "copy-command")),
    el("div", { class: "st-command" }, el("h3", {}, t("train.preset_title")),
      el("form", { class: "st-inline", onsubmit: (event) => { event.preventDefault(); keep(); } }, name,
        button("train.preset_save", keep, "save-preset")), own, el("p", { class: "st-quiet" }, t("train.preset_help"))));
  const draw = () => {
    const { config = {}, command = "" } = bridge.value() ?? {};
    json.textContent = JSON.stringify(config, null, 2);
    line.textContent = command;
  };
  bridge.watch(draw);
  draw();
  list();
}

/** A preset as a file for others: dropped on their page, it is kept among their goals. */
function keepFile({ name, config }) {
  const file = new Blob([JSON.stringify({ [PRESET]: 1, name, config }, null, 2)], { type: "application/json" });
  const link = el("a", { href: URL.createObjectURL(file),
    download: `${name.replace(/[^\p{L}\p{N}._-]+/gu, "-")}.preset.json` });
  link.click();
  URL.revokeObjectURL(link.href);
}

/** The preset that a dropped file's text is, or null. */
export function presetOf(text) {
  try {
    const found = JSON.parse(text);
    return PRESET in found ? { name: found.name, config: found.config } : null;
  } catch { return null; } // no JSON, or none of an object: the form says what is wrong with it
}

/** The settings in a JSON file, or in the header of a weight file that was taken home; null when there are none. */
export async function settingsOf(file) {
  if (/\.json$/i.test(file.name)) return file.text();
  if (!/\.safetensors$/i.test(file.name)) return null;
  const size = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
  if (size > 100_000_000) return null;
  return JSON.parse(await file.slice(8, 8 + size).text()).__metadata__?.[KEY] ?? null;
}
