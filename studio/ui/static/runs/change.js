// @ts-check
// Two dialogs over a run's settings: changing it on its way, and branching it from a checkpoint.

import { FACTS, LONGEST, isTraining } from "../kit/facts.js";
import { button, call, el, t, toast, whole, wordsOf } from "../kit/kit.js";
import { badNote, submitting } from "../kit/pieces.js";
import { go } from "../kit/route.js";
import { changesTo, linesOf, settingAt } from "./settings.js";

/** @import { Config, Edit, Run, Setting } from "../../types/api.js" */
/** @typedef {{ id: string, text: string, action: () => Promise<unknown> }} Choice */

const BRANCHES = [
  "train.max_steps",
  "optim.learning_rate",
  "sample.prompts",
  "sample.every_steps",
  "checkpoint.every_steps",
];
const LINES = "sample.prompts"; // the setting that has a line for each value

/**
 * Fields for settings; `value()` is the partial config of those that were changed.
 * @param {Config} config
 * @param {string[]} paths
 */
function fields(config, paths) {
  const all = paths.map((path) => {
    const input = field(path, settingAt(config, path));
    return { path, input, node: el("label", { for: input.id }, t(`setting.${path}`), input) };
  });
  return {
    nodes: all.map(({ node }) => node),
    value: () =>
      changesTo(
        config,
        all.map(({ path, input }) => [path, read(path, input.value)]),
      ),
  };
}

/** @param {string} path @param {Setting} now */
function field(path, now) {
  const id = `change-${path.replace(".", "-")}`;
  if (path === LINES) return el("textarea", { id, rows: 3, value: Array.isArray(now) ? now.join("\n") : "" });
  return el("input", { type: "number", id, step: "any", value: now ?? "" });
}

/** @param {string} path @param {string} text */
function read(path, text) {
  if (path === LINES) return linesOf(text);
  return text === "" ? null : Number(text);
}

/**
 * A dialog with a form; Enter presses the last of `choices`. An action that throws says why.
 * @param {string} title
 * @param {string} help
 * @param {HTMLElement[]} nodes
 * @param {Choice[]} choices
 */
function ask(title, help, nodes, choices) {
  const problem = el("div", { role: "alert" });
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  /** @param {Choice} choice */
  const run = async ({ action }) => {
    problem.replaceChildren();
    try {
      await action();
      close();
    } catch (error) {
      problem.replaceChildren(badNote(wordsOf(error)));
    }
  };
  const last = choices[choices.length - 1];
  const others = choices.slice(0, -1).map((one) => button(one.text, { id: one.id, onclick: () => run(one) }));
  const actions = el(
    "div",
    { class: "st-actions" },
    button(t("app.close"), { onclick: close }),
    ...others,
    el("button", { type: "submit", class: "st-button st-primary", id: last.id }, last.text),
  );
  const form = { class: "st-change", novalidate: true, onsubmit: submitting(() => run(last)) };
  const dialog = el(
    "dialog",
    { class: "st-dialog st-wide-dialog", "aria-label": title, oncancel: close },
    el("h2", {}, title),
    el("p", { class: "st-quiet" }, help),
    el("form", form, ...nodes, problem, actions),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** Change a run on its way; `done` gets its new record. @param {Run} record @param {(record: Run) => void} done */
export function change(record, done) {
  const trains = isTraining(record.state);
  const { nodes, value } = fields(record.config ?? {}, FACTS.editable_settings);
  /** @param {boolean} resume */
  const send = async (resume) => {
    const body = { config: value(), resume };
    const { data } = await call(`runs/${record.id}/edit`, { method: "POST", body });
    if (trains) toast(t("run.asked"));
    done(data);
  };
  /** @type {Choice[]} */
  const choices = [{ id: "change-save", text: t("change.save"), action: () => send(false) }];
  if (!trains && record.state !== "queued") {
    choices.push({ id: "change-resume", text: t("change.resume"), action: () => send(true) });
  }
  const title = t(record.state === "finished" ? "run.extend" : "run.edit");
  ask(title, t(trains ? "change.help_live" : "change.help"), nodes, choices);
}

/** Branch a run from one of its checkpoints, and show the branch. @param {Run} record @param {string} checkpoint */
export function branch(record, checkpoint) {
  const name = el("input", {
    type: "text",
    id: "branch-name",
    maxlength: LONGEST.name,
    autocomplete: "off",
    placeholder: t("branch.name_empty", { name: record.name ?? "" }),
  });
  const { nodes, value } = fields(record.config ?? {}, BRANCHES);
  const start = async () => {
    const named = name.value.trim();
    const body = { checkpoint, config: value(), ...(named ? { name: named } : {}) };
    const { data } = await call(`runs/${record.id}/branch`, { method: "POST", body });
    go({ run: data.id });
  };
  const label = el("label", { for: "branch-name" }, t("run.name"), name);
  const choices = [{ id: "branch-start", text: t("branch.start"), action: start }];
  ask(t("branch.title", { checkpoint }), t("branch.help"), [label, ...nodes], choices);
}

/** What was changed on the way, and from which step on. @param {HTMLElement} place @param {Edit[]} edits */
export function changed(place, edits) {
  const lines = edits.map(({ step, config }) =>
    el("li", {}, el("b", {}, t("change.from", { step: whole(step) })), el("span", {}, inWords(config))),
  );
  place.hidden = !edits.length;
  place.replaceChildren(el("h2", {}, t("change.title")), el("ul", { class: "st-changes" }, ...lines));
}

/** A partial config in words. @param {Config} config */
function inWords(config) {
  const values = Object.entries(config).flatMap(([section, settings]) =>
    Object.entries(settings).map(([name, value]) => ({
      name: t(`setting.${section}.${name}`),
      value: Array.isArray(value) ? value.join(" · ") : value,
    })),
  );
  return values.map((one) => t("change.value", one)).join("; ");
}
