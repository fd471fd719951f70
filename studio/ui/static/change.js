// Two dialogs over a run's settings: changing it on its way, and branching it from a checkpoint.

import { go } from "./app.js";
import { attempt, call, el, t, toast, whole } from "./kit.js";

const CHANGES = ["train.max_steps", "optim.lr_multiplier", "sample.prompts", "sample.every_steps", "checkpoint.every_steps", "checkpoint.keep"];
const BRANCHES = ["train.max_steps", "optim.learning_rate", "sample.prompts", "sample.every_steps", "checkpoint.every_steps"];
const LIVE = new Set(["starting", "running"]);
const LINES = "sample.prompts";

/** The value a config has at `section.name`. */
export const at = (config, path) => path.split(".").reduce((found, name) => found?.[name], config);

/** A partial config with one more value. */
function put(config, path, value) {
  const [section, name] = path.split(".");
  return { ...config, [section]: { ...config[section], [name]: value } };
}

/** Fields for these settings; `value()` is the partial config of those that were changed. */
function fields(config, paths) {
  const inputs = paths.map((path) => {
    const now = at(config, path);
    const id = `change-${path.replace(".", "-")}`;
    return [path, path === LINES ? el("textarea", { id, rows: 3, value: (now ?? []).join("\n") })
      : el("input", { type: "number", id, step: "any", value: now ?? "" })];
  });
  const read = (path, input) => (path === LINES ? input.value.split("\n").map((line) => line.trim()).filter(Boolean)
    : input.value === "" ? null : Number(input.value));
  return {
    nodes: inputs.map(([path, input]) => el("label", { for: input.id }, t(`setting.${path}`), input)),
    value: () => inputs.reduce((found, [path, input]) => {
      const value = read(path, input);
      return JSON.stringify(value) === JSON.stringify(at(config, path) ?? null) ? found : put(found, path, value);
    }, {}),
  };
}

/** A dialog with a form; `buttons` are [id, text, action(event)], the last one is for Enter. An action that throws says why. */
function dialog(title, help, nodes, buttons) {
  const problem = el("div", { role: "alert" });
  const close = () => { shown.close(); shown.remove(); };
  const run = async (action) => {
    problem.replaceChildren();
    try {
      await action();
      close();
    } catch (error) {
      problem.replaceChildren(el("p", { class: "st-note st-note-bad" }, error.words ?? t("app.reconnecting")));
    }
  };
  const last = buttons.at(-1);
  const form = el("form", { class: "st-change", novalidate: true, onsubmit: (event) => { event.preventDefault(); run(last[2]); } },
    ...nodes, problem, el("div", { class: "st-actions" },
      el("button", { type: "button", class: "st-button", onclick: close }, t("app.close")),
      buttons.slice(0, -1).map(([id, text, action]) => el("button", { type: "button", class: "st-button", id, onclick: () => run(action) }, text)),
      el("button", { type: "submit", class: "st-button st-primary", id: last[0] }, last[1])));
  const shown = el("dialog", { class: "st-dialog st-wide-dialog", "aria-label": title, oncancel: close },
    el("h2", {}, title), el("p", { class: "st-quiet" }, help), form);
  document.body.append(shown);
  shown.showModal();
}

/** Change a run on its way; `done` gets its new record. */
export function change(record, done) {
  const { nodes, value } = fields(record.config, CHANGES);
  const send = (resume) => async () => {
    const { data } = await call(`runs/${record.id}/edit`, { method: "POST", body: { config: value(), resume } });
    if (LIVE.has(record.state)) toast(t("run.asked"));
    done(data);
  };
  const waits = record.state === "queued" || LIVE.has(record.state);
  const resume = waits ? [] : [["change-resume", t("change.resume"), send(true)]];
  dialog(t(record.state === "finished" ? "run.extend" : "run.edit"), t(LIVE.has(record.state) ? "change.help_live" : "change.help"),
    nodes, [["change-save", t("change.save"), send(false)], ...resume]);
}

/** Branch a run from one of its checkpoints, and show the branch. */
export function branch(record, checkpoint) {
  const name = el("input", { type: "text", id: "branch-name", maxlength: 200, autocomplete: "off",
    placeholder: t("branch.name_empty", { name: record.name ?? "" }) });
  const { nodes, value } = fields(record.config, BRANCHES);
  dialog(t("branch.title", { checkpoint }), t("branch.help"), [el("label", { for: "branch-name" }, t("run.name"), name), ...nodes],
    [["branch-start", t("branch.start"), async () => {
      const body = { checkpoint, config: value(), ...(name.value.trim() ? { name: name.value.trim() } : {}) };
      go({ run: (await call(`runs/${record.id}/branch`, { method: "POST", body })).data.id });
    }]]);
}

/** What was changed on the way, and from which step on. */
export function changed(place, edits) {
  place.hidden = !edits.length;
  const said = (config) => Object.entries(config).flatMap(([section, values]) => Object.entries(values).map(([name, value]) =>
    t("change.value", { name: t(`setting.${section}.${name}`), value: Array.isArray(value) ? value.join(" · ") : value })));
  place.replaceChildren(el("h2", {}, t("change.title")), el("ul", { class: "st-changes" }, edits.map(({ step, config }) =>
    el("li", {}, el("b", {}, t("change.from", { step: whole(step) })), el("span", {}, said(config).join("; "))))));
}

/** The buttons that put right what ended a run: each a resume, a branch, or a new run with changed settings. */
export function fixes(record, done) {
  const offers = record.fixes ?? [];
  if (!offers.length) return null;
  return el("ul", { class: "st-fixes", id: "fixes", "aria-label": t("run.what_to_do") }, offers.map((offer) => {
    const token = offer.needs === "token"
      ? el("input", { type: "password", autocomplete: "off", "aria-label": t("fix.token_label"), placeholder: t("fix.token_label") }) : null;
    const button = el("button", { type: "button", class: "st-button", id: `fix-${offer.code}`, onclick: () => press() }, t(`fix.${offer.code}`, offer.values));
    const press = async () => {
      button.disabled = true;
      await attempt(() => apply(record, offer, token?.value.trim(), done));
      button.disabled = false;
    };
    return el("li", {}, token, button, el("small", {}, t(`fix.how_${offer.how}`, { checkpoint: offer.checkpoint ?? "" })));
  }));
}

async function apply(record, offer, token, done) {
  const post = async (path, body) => (await call(path, { method: "POST", body })).data;
  if (offer.how === "resume") {
    done(await post(`runs/${record.id}/resume`, token ? { token } : {}));
  } else if (offer.how === "form") {
    const [section, name] = (offer.field ?? "").split(".");
    const wrong = record.error.code === "config" && section in record.config;  // what cannot be loaded is left empty
    const config = wrong ? { ...record.config, [section]: { ...record.config[section], [name]: undefined } } : record.config;
    window.dispatchEvent(new CustomEvent("studio:use-config", { detail: { config, field: offer.field } }));
  } else if (offer.how === "branch") {
    go({ run: (await post(`runs/${record.id}/branch`, { checkpoint: offer.checkpoint, config: offer.config })).id });
  } else {
    const config = Object.entries(offer.config).reduce((found, [section, values]) => ({ ...found, [section]: { ...found[section], ...values } }), record.config);
    go({ run: (await post("runs", { name: record.name, config })).id });
  }
}
