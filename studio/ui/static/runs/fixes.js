// @ts-check
// The buttons that put right what ended a run: each a resume, a branch, or a new run with changed settings.

import { attempt, button, call, el, t } from "../kit/kit.js";
import { go } from "../kit/route.js";
import { overlaid, withSetting } from "./settings.js";

/** @import { Config, Fix, Run } from "../../types/api.js" */
/** @typedef {(record: Run) => void} Done */

/** The fixes as a list; null where there are none. @param {Run} record @param {Done} done */
export function fixes(record, done) {
  const offers = record.fixes ?? [];
  if (!offers.length) return null;
  const list = { class: "st-fixes", id: "fixes", "aria-label": t("run.what_to_do") };
  return el("ul", list, ...offers.map((fix) => row(record, fix, done)));
}

/** @param {Run} record @param {Fix} fix @param {Done} done */
function row(record, fix, done) {
  const label = t("fix.token_label");
  const field = { type: "password", autocomplete: "off", "aria-label": label, placeholder: label };
  const token = fix.needs === "token" ? el("input", field) : null;
  const press = async () => {
    pressed.disabled = true;
    await attempt(() => apply(record, fix, token?.value.trim() ?? "", done));
    pressed.disabled = false;
  };
  const pressed = button(t(`fix.${fix.code}`, fix.values), { id: `fix-${fix.code}`, onclick: press });
  return el("li", {}, token, pressed, el("small", {}, t(`fix.how_${fix.how}`, { checkpoint: fix.checkpoint ?? "" })));
}

/** @param {Run} record @param {Fix} fix @param {string} token @param {Done} done */
async function apply(record, fix, token, done) {
  if (fix.how === "resume") {
    const body = token ? { token } : {};
    done((await call(`runs/${record.id}/resume`, { method: "POST", body })).data);
  } else if (fix.how === "form") {
    const detail = { config: forForm(record, fix), field: fix.field };
    window.dispatchEvent(new CustomEvent("studio:use-config", { detail }));
  } else if (fix.how === "branch") {
    const body = { checkpoint: fix.checkpoint, config: fix.config };
    const { data } = await call(`runs/${record.id}/branch`, { method: "POST", body });
    go({ run: data.id });
  } else {
    const body = { name: record.name, config: overlaid(record.config ?? {}, fix.config) };
    const { data } = await call("runs", { method: "POST", body });
    go({ run: data.id });
  }
}

/** A run's settings for the form; what cannot be loaded is left empty. @param {Run} record @param {Fix} fix */
function forForm(record, fix) {
  /** @type {Config} */
  const config = record.config ?? {};
  const [section] = (fix.field ?? "").split(".");
  const wrong = record.error?.code === "config" && section in config;
  return wrong && fix.field ? withSetting(config, fix.field, undefined) : config;
}
