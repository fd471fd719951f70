// @ts-check
// The buttons of a run: only those that its state allows.

import { LONGEST } from "../kit/facts.js";
import { attempt, button, call, confirm, el, t, toast } from "../kit/kit.js";
import { submitting } from "../kit/pieces.js";
import { go } from "../kit/route.js";
import { deleted } from "../trash/trashed.js";
import { change } from "./change.js";

/** @import { Run } from "../../types/api.js" */
/** @typedef {(record: Run) => void} Done */

const ORDER = ["resume", "stop", "pause", "save", "sample", "edit", "cancel", "delete"];
/** @type {Record<string, string>} */
const LOOK = { resume: "st-primary", stop: "st-primary", cancel: "st-danger", delete: "st-danger" };
const SURE = new Set(["cancel", "delete"]);

/** Fill `place` with the buttons of `record.actions`; `done` gets the record a control answers with.
 * @param {HTMLElement} place @param {Run} record @param {Done} done */
export function controls(place, record, done) {
  const allowed = new Set(record.actions ?? []);
  const names = ORDER.filter((name) => allowed.has(name));
  place.replaceChildren(...names.map((name) => control(name, record, done)));
}

/** @param {string} name @param {Run} record @param {Done} done */
function control(name, record, done) {
  const words = t(name === "edit" && record.state === "finished" ? "run.extend" : `run.${name}`);
  return button(words, {
    id: `action-${name}`,
    class: `st-button ${LOOK[name] ?? ""}`,
    onclick: (event) => press(name, event.currentTarget, record, done),
  });
}

/** @param {string} name @param {HTMLButtonElement} pressed @param {Run} record @param {Done} done */
async function press(name, pressed, record, done) {
  if (name === "edit") {
    change(record, done);
  } else if (name === "sample") {
    ask(pressed, record, done);
  } else if (!SURE.has(name) || (await sure(name))) {
    pressed.disabled = true;
    await attempt(() => (name === "delete" ? remove(record) : send(name, record, done)));
    pressed.disabled = false;
  }
}

/** @param {string} name */
const sure = (name) => confirm(t(`run.${name}_sure`), t(`run.${name}_yes`), t("run.keep"));

/** @param {Run} record */
async function remove(record) {
  await call(`runs/${record.id}`, { method: "DELETE" });
  go({ view: "runs" });
  deleted(record.id);
}

/** @param {string} name @param {Run} record @param {Done} done */
async function send(name, record, done) {
  const { data } = await call(`runs/${record.id}/${name}`, { method: "POST", body: {} });
  if (name !== "resume") toast(t("run.asked"));
  done(data);
}

/** A prompt field beside the button; an empty one asks for the run's own prompts.
 * @param {HTMLButtonElement} pressed @param {Run} record @param {Done} done */
function ask(pressed, record, done) {
  const open = document.getElementById("sample-form");
  if (open) {
    open.remove();
    return;
  }
  const input = el("input", {
    type: "text",
    id: "sample-prompt",
    maxlength: LONGEST.prompt,
    autocomplete: "off",
    "aria-label": t("run.prompt"),
    placeholder: t("run.prompt_empty"),
  });
  const draw = async () => {
    const prompt = input.value.trim();
    const body = prompt ? { prompt } : {};
    const answer = await attempt(() => call(`runs/${record.id}/sample`, { method: "POST", body }));
    if (!answer) return;
    form.remove();
    toast(t("run.asked"));
    done(answer.data);
  };
  const form = el(
    "form",
    { id: "sample-form", class: "st-inline-form", onsubmit: submitting(draw) },
    input,
    el("button", { type: "submit", class: "st-button st-primary" }, t("run.sample")),
  );
  pressed.parentElement?.append(form);
  input.focus();
}
