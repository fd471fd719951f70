// @ts-check
// The quieter parts of a run's page: what went wrong, where it was resumed, details, and the log.

import { button, call, el, say, t, whole } from "../kit/kit.js";
import { copy, listOf, messagesOf } from "../kit/pieces.js";
import { quoted } from "./command.js";
import { fixes } from "./fixes.js";

/** @import { Config, Resume, Run, Setting } from "../../types/api.js" */

/** What happened, the evidence and what to do; warnings.
 * @param {HTMLElement} place @param {Run} record @param {(record: Run) => void} done */
export function trouble(place, record, done) {
  const warnings = messagesOf(record.warnings ?? []);
  const warned = el("div", { class: "st-note" }, el("strong", {}, t("run.warnings")), listOf(warnings));
  place.replaceChildren(fault(record, done) ?? "", warnings.length ? warned : "");
}

/** What ended the run. @param {Run} record @param {(record: Run) => void} done */
function fault(record, done) {
  const { error } = record;
  if (!error) return null;
  const evidence = el("pre", {}, asText(error.evidence));
  return el(
    "div",
    { class: "st-note st-note-bad", role: "alert", id: "run-error" },
    el("strong", {}, error.message),
    error.hint ? el("p", {}, el("b", {}, `${t("run.what_to_do")}: `), error.hint) : null,
    fixes(record, done),
    error.evidence ? el("details", {}, el("summary", {}, t("run.evidence")), evidence) : null,
  );
}

/** @param {unknown} evidence */
function asText(evidence) {
  if (typeof evidence === "string") return evidence;
  return Array.isArray(evidence) ? evidence.join("\n") : JSON.stringify(evidence, null, 2);
}

/** Where a run was resumed, and whether that made any difference to its result.
 * @param {HTMLElement} place @param {Resume[]} resumes */
export function certificate(place, resumes) {
  const allExact = resumes.every((one) => one.exact);
  place.hidden = !resumes.length;
  place.replaceChildren(
    el("h2", {}, t("resume.title")),
    el("p", { class: "st-quiet" }, t(allExact ? "resume.all_exact" : "resume.not_all")),
    el("ul", { class: "st-resumes" }, ...resumes.map(resumed)),
  );
}

/** @param {Resume} resume */
function resumed({ from_step: from, checkpoint, exact, note }) {
  const words = exact ? "resume.exact" : "resume.near";
  return el(
    "li",
    { class: exact ? "st-good" : "st-near" },
    t(checkpoint ? words : "resume.begun", { step: whole(from), checkpoint }),
    !exact && note ? el("small", {}, note) : null,
  );
}

/** The command line and the settings of a run. @param {HTMLElement} place @param {Run} record */
export function details(place, record) {
  const command = (record.command ?? []).map(quoted).join(" ");
  place.replaceChildren(
    el("div", { class: "st-card-head" }, el("h2", {}, t("run.details"))),
    command ? commandLine(command) : "",
    el("details", {}, el("summary", {}, t("run.config")), settings(record.config ?? {})),
  );
}

/** @param {string} command */
function commandLine(command) {
  return el(
    "div",
    { class: "st-command" },
    el("h3", {}, t("run.command")),
    el("code", { id: "run-command" }, command),
    button(t("app.copy"), { class: "st-button st-small", onclick: () => copy(command) }),
  );
}

/** @param {Config} config */
function settings(config) {
  const sections = Object.entries(config).filter(([, values]) => values && typeof values === "object");
  const rows = sections.flatMap(([section, values]) =>
    Object.entries(values)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => el("div", {}, el("dt", {}, `${section}.${name}`), el("dd", {}, plain(value)))),
  );
  return el("dl", { class: "st-settings", translate: "no" }, ...rows); // names and values, as commands have them
}

/** @param {Setting} value */
const plain = (value) => (Array.isArray(value) ? value.join("\n") : String(value));

const KEPT = 200000; // characters of the log kept on the page
const AT_END = 24; // pixels that may be left below a log that is at its end

/** The end of the run's log; asked for only while it is open. */
export class Log {
  /** @param {string} id of the run */
  constructor(id) {
    this.id = id;
    this.busy = false;
    /** Up to where the log was read. @type {number | null} */
    this.since = null;
    this.lines = el("pre", { tabindex: 0, "aria-label": t("run.log") }, t("run.log_empty"));
    const attributes = {
      class: "st-card st-log",
      id: "log",
      ontoggle: () => {
        this.next();
      },
    };
    this.node = el("details", attributes, el("summary", {}, t("run.log")), this.lines);
  }

  async next() {
    if (!this.node.open || this.busy) return;
    this.busy = true;
    try {
      const query = this.since === null ? "" : `?since=${this.since}`;
      const { data } = await call(`runs/${this.id}/log${query}`);
      const first = this.since === null;
      this.since = data.next;
      if (data.text) this.add(data.text, first);
    } finally {
      this.busy = false;
    }
  }

  /** @param {string} more @param {boolean} first */
  add(more, first) {
    const { lines } = this;
    const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - AT_END;
    const before = first ? "" : (lines.textContent ?? "");
    say(lines, (before + more).slice(-KEPT));
    if (atEnd || first) lines.scrollTop = lines.scrollHeight;
  }
}
