// The quieter parts of a run's page: what went wrong, downloads, details, and the log.

import { fixes } from "./change.js";
import { ApiError, address, bytes, call, el, has, listed, say, t, toast, whole } from "./kit.js";

/** What happened, the evidence and what to do; warnings. */
export function trouble(place, record, done) {
  const parts = [];
  const { error } = record;
  if (error) {
    parts.push(el("div", { class: "st-note st-note-bad", role: "alert", id: "run-error" },
      el("strong", {}, error.message),
      error.hint ? el("p", {}, el("b", {}, `${t("run.what_to_do")}: `), error.hint) : null,
      fixes(record, done),
      error.evidence ? el("details", {}, el("summary", {}, t("run.evidence")), el("pre", {}, text(error.evidence))) : null));
  }
  const warnings = (record.warnings ?? []).map((w) => (typeof w === "string" ? w : w.message));
  if (warnings.length) {
    parts.push(el("div", { class: "st-note" }, el("strong", {}, t("run.warnings")),
      el("ul", {}, warnings.map((message) => el("li", {}, message)))));
  }
  place.replaceChildren(...parts);
}

/** Where a run was resumed, and whether that made any difference to its result. */
export function certificate(place, resumes) {
  const line = ({ from_step: from, checkpoint, exact, note }) => {
    const key = !checkpoint ? "begun" : exact ? "exact" : "near";
    return el("li", { class: exact ? "st-good" : "st-near" },
      t(`resume.${key}`, { step: whole(from), checkpoint }), !exact && note ? el("small", {}, note) : null);
  };
  place.hidden = !resumes.length;
  place.replaceChildren(el("h2", {}, t("resume.title")),
    el("p", { class: "st-quiet" }, t(resumes.every((one) => one.exact) ? "resume.all_exact" : "resume.not_all")),
    el("ul", { class: "st-resumes" }, resumes.map(line)));
}

const text = (value) => (typeof value === "string" ? value : Array.isArray(value) ? value.join("\n") : JSON.stringify(value, null, 2));

const WHOLE = ["pipeline", "single"]; // first, then parts by themselves, then forms of a LoRA
const rows = (items) => {
  const kinds = [...new Set(items.filter((item) => item.weights).map((item) => item.kind))];
  const lora = kinds.filter((kind) => kind.startsWith("lora"));
  const parts = kinds.filter((kind) => !WHOLE.includes(kind) && !lora.includes(kind));
  return [...WHOLE, ...parts, ...lora].flatMap((kind) => [[kind, "ema"], [kind, "raw"]]);
};
/** The name of a download, by its kind and the programs it is for; a part of a model without words of its own goes by its name. */
const called = ({ kind, weights, programs }) => (has(`run.file_${kind}_${weights}`)
  ? t(`run.file_${kind}_${weights}`, { programs: listed(programs) }) : t(`run.file_part_${weights}`, { part: kind }));
const PRECISIONS = ["fp32", "fp16", "bf16"];
let precision = "fp32"; // of the links shown; chosen once for all checkpoints
const BEST = [["pipeline", "ema"], ["pipeline", "raw"], ["lora", "ema"], ["lora", "raw"]];

/** Links to everything a person can take away, newest checkpoint first; `branch` makes a new run from a step. */
export function downloads(place, id, items, branch) {
  const ROWS = rows(items);
  const steps = [...new Set(items.filter((item) => item.weights).map((item) => item.step))].sort((a, b) => b - a);
  const find = (step, kind, weights) => items.find((i) => i.step === step && i.kind === kind && i.weights === weights
    && i.precision === precision);
  const best = BEST.map(([kind, weights]) => find(steps[0], kind, weights)).find(Boolean);
  const lora = items.some((item) => item.kind === "lora");
  const config = items.find((item) => item.kind === "config");
  place.replaceChildren(
    el("div", { class: "st-card-head" }, el("h2", {}, t("run.downloads"))),
    best ? link(id, best, t(`run.file_best_${best.kind}`), "st-button st-primary st-wide", "download-model")
      : el("p", { class: "st-quiet" }, t("run.downloads_none")),
    steps.length ? el("label", { class: "st-choice" }, el("span", {}, t("run.precision")),
      el("select", { id: "download-precision", value: precision,
        onchange: (event) => { precision = event.target.value; downloads(place, id, items, branch);
          place.querySelector("#download-precision").focus(); } },
      PRECISIONS.map((name) => el("option", { value: name, selected: name === precision }, t(`run.precision_${name}`))))) : "",
    ...steps.map((step, i) => el("details", { class: "st-files", open: i === 0 },
      el("summary", {}, t("run.checkpoint", { step: whole(step) })),
      ROWS.map(([kind, weights]) => find(step, kind, weights)).filter(Boolean)
        .map((item) => link(id, item, called(item), "st-file")),
      el("div", { class: "st-actions st-branch" },
        el("a", { class: "st-button st-small", href: `?play=${id}&at=checkpoint-${step}` }, t("run.try_at", { step: whole(step) })),
        el("button", { type: "button", class: "st-button st-small", onclick: () => branch(step),
          "aria-label": t("branch.title", { checkpoint: `checkpoint-${step}` }) }, t("branch.button"))))),
    steps.length ? el("p", { class: "st-quiet st-small-text" }, t("run.ema_help")) : "",
    items.some((item) => item.kind === "single") ? el("p", { class: "st-quiet st-small-text" }, t("run.single_help")) : "",
    lora ? el("p", { class: "st-quiet st-small-text" }, t("run.lora_help")) : "",
    config ? link(id, config, t("run.file_config"), "st-file") : "");
}

function link(id, item, words, look, name = null) {
  const path = item.path.split("/").map(encodeURIComponent).join("/");
  return el("a", { class: look, id: name, href: address(`api/runs/${id}/files/${path}`), download: true,
    "data-path": item.path }, el("span", {}, words), el("small", {}, bytes(item.size)));
}

/** The command line and the settings of a run. */
export function details(place, record) {
  const command = (record.command ?? []).map(quoted).join(" ");
  const settings = Object.entries(record.config ?? {}).filter(([, values]) => values && typeof values === "object");
  place.replaceChildren(
    el("div", { class: "st-card-head" }, el("h2", {}, t("run.details"))),
    command ? el("div", { class: "st-command" }, el("h3", {}, t("run.command")), el("code", { id: "run-command" }, command),
      el("button", { type: "button", class: "st-button st-small", onclick: () => copy(command) }, t("app.copy"))) : "",
    el("details", {}, el("summary", {}, t("run.config")),
      el("dl", { class: "st-settings" }, settings.flatMap(([section, values]) => Object.entries(values)
        .filter(([, value]) => value !== null)
        .map(([name, value]) => el("div", {}, el("dt", {}, `${section}.${name}`), el("dd", {}, plain(value))))))));
}

const plain = (value) => (Array.isArray(value) ? value.join("\n") : String(value));

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

export async function copy(command) {
  await navigator.clipboard.writeText(command);
  toast(t("app.copied"));
}

const KEPT = 200000;  // characters of the log kept on the page

/** The end of the run's log; asked for only while it is open. */
export class Log {
  constructor(id) {
    this.id = id;
    this.since = null;
    this.lines = el("pre", { tabindex: 0, "aria-label": t("run.log") }, t("run.log_empty"));
    this.node = el("details", { class: "st-card st-log", id: "log", ontoggle: () => this.next() },
      el("summary", {}, t("run.log")), this.lines);
  }

  async next() {
    if (!this.node.open || this.busy) return;
    this.busy = true;
    try {
      const { data } = await call(`runs/${this.id}/log${this.since === null ? "" : `?since=${this.since}`}`);
      const first = this.since === null;
      this.since = data.next;
      if (data.text) this.add(data.text, first);
    } finally {
      this.busy = false;
    }
  }

  add(more, first) {
    const { lines } = this;
    const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 24;
    say(lines, ((first ? "" : lines.textContent) + more).slice(-KEPT));
    if (atEnd || first) lines.scrollTop = lines.scrollHeight;
  }
}

/** The name a run goes by. */
export const titled = (run) => run.name || t("runs.unnamed", { id: run.id.slice(0, 6) });

/** A run's state as a word with a mark. */
export function badge(state) {
  return el("span", { class: `st-badge st-state-${state}` }, has(`state.${state}`) ? t(`state.${state}`) : state);
}

/** Signed out, deleted, or somebody else's: in words. */
export function refusal(error, title = null) {
  const words = error instanceof ApiError ? error.words : t("app.reconnecting");
  return el("div", { class: "st-card st-empty", role: "alert" }, title ? el("h2", {}, title) : null, el("p", {}, words),
    el("a", { class: "st-button", href: "?view=runs" }, t("runs.all")));
}

/** An address of the Hub's as a link that opens beside the studio; anything else stays text. */
export const outward = (address) => (address.startsWith("https://huggingface.co/")
  ? el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, address) : address);
