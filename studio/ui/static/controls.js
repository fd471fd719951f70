// The buttons of a run: only those that its state allows.

import { go } from "./app.js";
import { change } from "./change.js";
import { attempt, call, confirm, el, t, toast } from "./kit.js";
import { deleted } from "./trashed.js";

const ORDER = ["resume", "stop", "pause", "save", "sample", "edit", "cancel", "delete"];
const LOOK = { resume: "st-primary", stop: "st-primary", cancel: "st-danger", delete: "st-danger" };
const SURE = new Set(["cancel", "delete"]);

/** Fill `place` with the buttons of `record.actions`; `done` gets the record a control answers with. */
export function controls(place, record, done) {
  const allowed = new Set(record.actions ?? []);
  place.replaceChildren(...ORDER.filter((name) => allowed.has(name)).map((name) => el("button", {
    type: "button", id: `action-${name}`, class: `st-button ${LOOK[name] ?? ""}`,
    onclick: (event) => press(name, event.currentTarget, record, done) },
  t(name === "edit" && record.state === "finished" ? "run.extend" : `run.${name}`))));
}

async function press(name, button, record, done) {
  if (name === "edit") { change(record, done); return; }
  if (name === "sample") { ask(button, record, done); return; }
  if (SURE.has(name) && !(await confirm(t(`run.${name}_sure`), t(`run.${name}_yes`), t("run.keep")))) return;
  button.disabled = true;
  const answer = await attempt(() => (name === "delete"
    ? call(`runs/${record.id}`, { method: "DELETE" })
    : call(`runs/${record.id}/${name}`, { method: "POST", body: {} })));
  button.disabled = false;
  if (!answer) return;
  if (name === "delete") { go({ view: "runs" }); deleted(record.id); return; }
  if (name !== "resume") toast(t("run.asked"));
  done(answer.data);
}

/** A prompt field beside the button; an empty one asks for the run's own prompts. */
function ask(button, record, done) {
  const open = document.getElementById("sample-form");
  if (open) { open.remove(); return; }
  const input = el("input", { type: "text", id: "sample-prompt", maxlength: 2000, autocomplete: "off",
    "aria-label": t("run.prompt"), placeholder: t("run.prompt_empty") });
  const form = el("form", { id: "sample-form", class: "st-inline-form", onsubmit: async (event) => {
    event.preventDefault();
    const prompt = input.value.trim();
    const answer = await attempt(() => call(`runs/${record.id}/sample`, { method: "POST", body: prompt ? { prompt } : {} }));
    if (!answer) return;
    form.remove();
    toast(t("run.asked"));
    done(answer.data);
  } }, input, el("button", { type: "submit", class: "st-button st-primary" }, t("run.sample")));
  button.parentElement.append(form);
  input.focus();
}
