// @ts-check
// The Publish box under *Take it home*: a result to the Hub, by a token that is sent once and kept nowhere.

import { FACTS, WEIGHTS, isLive } from "../kit/facts.js";
import { attempt, bytes, call, el, t } from "../kit/kit.js";
import { outward, submitting } from "../kit/pieces.js";

/** @import { Download, Job } from "../../types/api.js" */

const POLL = 1500; // milliseconds
const PUBLISHED = [FACTS.whole_kinds[0], FACTS.lora_kinds[0]];

export class Publish {
  /** @param {string} id of the run */
  constructor(id) {
    this.id = id;
    this.closed = false;
    this.state = el("div", { id: "publish-state", role: "status", "aria-live": "polite" });
    this.repo = el("input", {
      type: "text",
      id: "publish-repo",
      maxlength: 190,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: t("publish.repo_empty"),
    });
    const weights = WEIGHTS.map((kind) => el("option", { value: kind }, t(`samples.${kind}`)));
    this.weights = el("select", { id: "publish-weights" }, ...weights);
    this.private = el("input", { type: "checkbox", id: "publish-private", checked: true });
    const token = { type: "password", id: "publish-token", autocomplete: "new-password", maxlength: 4000 };
    this.token = el("input", token);
    this.box = el("details", {}, el("summary", {}, t("publish.title")), this.form(), this.state);
    this.node = el("section", { class: "st-card", id: "publish", hidden: true }, this.box);
  }

  form() {
    /** @param {string} name @param {HTMLElement} input */
    const field = (name, input) => el("label", { class: "st-stacked" }, el("span", {}, t(`publish.${name}`)), input);
    const go = { type: "submit", class: "st-button st-primary st-wide", id: "publish-go" };
    return el(
      "form",
      { id: "publish-form", onsubmit: submitting(() => this.send()) },
      el("p", { class: "st-quiet st-small-text" }, t("publish.help")),
      field("repo", this.repo),
      field("weights", this.weights),
      field("token", this.token),
      el("label", { class: "st-check" }, this.private, el("span", {}, t("publish.private"))),
      el("button", go, t("publish.go")),
    );
  }

  /** Show the box once there is something to publish; then say what an earlier publication came to.
   * @param {Download[]} items */
  async show(items) {
    const publishable = items.filter((item) => PUBLISHED.includes(item.kind));
    /** @type {Set<string>} */
    const there = new Set(publishable.map((item) => item.weights ?? ""));
    const fresh = this.node.hidden && there.size > 0;
    this.node.hidden = there.size === 0;
    for (const option of this.weights.options) option.disabled = !there.has(option.value);
    if (!there.has(this.weights.value)) this.weights.value = [...there][0] ?? WEIGHTS[0];
    if (fresh) await this.follow();
  }

  async send() {
    const token = this.token.value.trim();
    const body = {
      repo: this.repo.value.trim(),
      weights: this.weights.value,
      private: this.private.checked,
      ...(token ? { token } : {}),
    };
    this.token.value = "";
    const answer = await attempt(() => call(`runs/${this.id}/publish`, { method: "POST", body }));
    if (answer) await this.follow();
  }

  /** Follow the newest publication of this run until it has ended. @returns {Promise<void>} */
  async follow() {
    const answer = await attempt(() => call(`jobs?subject=${this.id}&kind=publish`));
    const job = answer?.data.items[0];
    if (this.closed || !job) return;
    this.state.replaceChildren(...outcome(job));
    if (!isLive(job.state)) return;
    this.box.open = true;
    setTimeout(() => {
      if (!this.closed) this.follow();
    }, POLL);
  }

  close() {
    this.closed = true;
  }
}

/** What a publication came to, in words. @param {Job} job */
function outcome(job) {
  if (job.state === "finished") {
    const address = job.results.find((result) => result.published)?.published ?? "";
    return [el("p", {}, t("publish.done"), " ", outward(address))];
  }
  if (isLive(job.state)) {
    const size = job.phase_total ? ` (${bytes(job.phase_total)})` : "";
    const lines = [t("publish.busy") + size, ...job.warnings.map((warning) => warning.message)];
    return lines.map((line) => el("p", { class: "st-quiet" }, line));
  }
  const { message, hint } = job.error ?? { message: t("publish.ended"), hint: "" };
  const why = el("strong", {}, message);
  return [el("div", { class: "st-note st-note-bad" }, why, hint ? el("p", {}, hint) : null)];
}
