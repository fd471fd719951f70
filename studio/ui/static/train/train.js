// @ts-check
// The notice under *Start training*, and the events that bring settings to the form.

import { FACTS } from "../kit/facts.js";
import { ApiError, call, el, existing, t, toast } from "../kit/kit.js";
import { listOf, placeIn } from "../kit/pieces.js";
import { go } from "../kit/route.js";
import { presetOf, settingsOf } from "./dropped.js";
import { fieldOf, inputOf, jump } from "./jump.js";
import { content } from "./notice.js";

/** @import { Config, Problem } from "../../types/api.js" */
/** @import { Bridge } from "../../types/page.js" */
/** @import { Notice } from "./notice.js" */

/** @param {Element} root @param {Bridge<Notice>} bridge */
export function mount(root, bridge) {
  const place = placeIn(root);
  place.setAttribute("aria-live", "polite");
  const draw = () => {
    const notice = bridge.value();
    if (!notice) {
      place.replaceChildren(el("p", { class: "st-quiet st-checking" }, t("train.checking")));
      return;
    }
    place.replaceChildren(...content(notice));
    mark(notice.problems);
    if (notice.problems.length) window.dispatchEvent(new Event("studio:answered"));
  };
  window.addEventListener("studio:use-dataset", (event) => {
    bridge.send("use_dataset", { id: event.detail });
    go({ view: "train" });
  });
  window.addEventListener("studio:use-config", ({ detail: { config, field } }) => {
    bridge.send("use_config", { text: JSON.stringify(config) });
    go({ view: "train" });
    if (field) jump(field);
  });
  window.addEventListener("studio:filled", () => bridge.send("apply", {}));
  bridge.watch(draw);
  draw();
  nameFields();
  const refused = el("div", { id: "preset-refused" });
  place.before(refused);
  const page = existing("page-train");
  takeFiles(page, bridge, refused);
  new MutationObserver(nameFields).observe(page, { childList: true, subtree: true });
}

/** A weight file that was taken home, or a config as JSON, dropped anywhere on the page fills the form.
 * @param {HTMLElement} page @param {Bridge<Notice>} bridge @param {HTMLElement} refused */
function takeFiles(page, bridge, refused) {
  /** @param {DragEvent} event */
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  page.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  page.addEventListener("drop", async (event) => {
    const file = event.dataTransfer?.files[0];
    if (!hasFiles(event) || !file) return;
    event.preventDefault();
    await takeFile(file, bridge, refused);
  });
}

/** @param {File} file @param {Bridge<Notice>} bridge @param {HTMLElement} refused */
async function takeFile(file, bridge, refused) {
  const text = await settingsOf(file, FACTS.settings_key).catch(() => null);
  if (text === null) {
    toast(t("train.drop_nothing", { name: file.name }));
    return;
  }
  const preset = presetOf(text);
  if (preset) {
    await keepPreset(preset, refused, bridge);
    return;
  }
  bridge.send("use_config", { text });
  toast(t("train.drop_taken", { name: file.name }));
}

/** Keep somebody else's preset; what this studio cannot take of it is named, setting by setting.
 * @param {{ name: string, config: Config }} preset @param {HTMLElement} refused @param {Bridge<Notice>} bridge */
async function keepPreset({ name, config }, refused, bridge) {
  refused.replaceChildren();
  try {
    await call("presets", { method: "POST", body: { name, config } });
    bridge.send("presets_changed", {});
    window.dispatchEvent(new Event("studio:presets")); // to the list, where its group has been opened
    toast(t("train.preset_taken", { name }));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const lines = error.problems.map(({ field, message }) => `${field}: ${message}`);
    const title = el("strong", {}, t("train.preset_refused", { name: name ?? "" }));
    const why = listOf(lines.length ? lines : [error.words]);
    refused.replaceChildren(el("div", { class: "st-note st-note-bad", role: "alert" }, title, why));
  }
}

/** Gradio's labels hold the help too: a field is called by its label alone, and described by its help. */
function nameFields() {
  for (const field of document.querySelectorAll("[id^='field-'], #run-name")) {
    const input = field.querySelector("input:not([aria-label]), textarea:not([aria-label])");
    const label = field.querySelector("[data-testid='block-info']");
    if (!input || !label) continue;
    input.setAttribute("aria-label", (label.textContent ?? "").trim());
    const help = label.nextElementSibling;
    if (!help || help.contains(input)) continue;
    help.id ||= `${field.id}-help`;
    input.setAttribute("aria-describedby", help.id);
  }
}

/** Mark the fields that something is wrong with. @param {Problem[]} problems */
function mark(problems) {
  const wrong = new Set(problems.map((problem) => fieldOf(problem.field ?? "")));
  for (const field of document.querySelectorAll("[id^='field-']")) {
    const bad = wrong.has(/** @type {HTMLElement} */ (field));
    field.classList.toggle("st-wrong", bad);
    if (bad) inputOf(field)?.setAttribute("aria-invalid", "true");
    else inputOf(field)?.removeAttribute("aria-invalid");
  }
}
