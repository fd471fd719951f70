// The Publish box under *Take it home*: a result to the Hub, by a token that is sent once and kept nowhere.

import { attempt, bytes, call, el, t } from "./kit.js";
import { outward } from "./parts.js";

const LIVE = new Set(["queued", "starting", "running", "stopping"]);
const POLL = 1500;

export class Publish {
  constructor(id) {
    this.id = id;
    this.closed = false;
    this.state = el("div", { id: "publish-state", role: "status", "aria-live": "polite" });
    this.node = el("section", { class: "st-card", id: "publish", hidden: true },
      el("details", {}, el("summary", {}, t("publish.title")), this.form(), this.state));
  }

  form() {
    const field = (name, input) => el("label", { class: "st-stacked" }, el("span", {}, t(`publish.${name}`)), input);
    this.repo = el("input", { type: "text", id: "publish-repo", maxlength: 190, autocomplete: "off", spellcheck: "false",
      placeholder: t("publish.repo_empty") });
    this.weights = el("select", { id: "publish-weights" }, ["ema", "raw"].map((kind) =>
      el("option", { value: kind }, t(`samples.${kind}`))));
    this.private = el("input", { type: "checkbox", id: "publish-private", checked: true });
    this.token = el("input", { type: "password", id: "publish-token", autocomplete: "new-password", maxlength: 4000 });
    return el("form", { id: "publish-form", onsubmit: (event) => { event.preventDefault(); this.send(); } },
      el("p", { class: "st-quiet st-small-text" }, t("publish.help")),
      field("repo", this.repo), field("weights", this.weights), field("token", this.token),
      el("label", { class: "st-check" }, this.private, el("span", {}, t("publish.private"))),
      el("button", { type: "submit", class: "st-button st-primary st-wide", id: "publish-go" }, t("publish.go")));
  }

  /** Show the box once there is something to publish; then say what an earlier publication came to. */
  async show(items) {
    const kinds = new Set(items.filter((item) => item.kind === "pipeline" || item.kind === "lora").map((i) => i.weights));
    const fresh = this.node.hidden && kinds.size > 0;
    this.node.hidden = kinds.size === 0;
    for (const option of this.weights.options) option.disabled = !kinds.has(option.value);
    if (!kinds.has(this.weights.value)) this.weights.value = [...kinds][0] ?? "ema";
    if (fresh) await this.follow();
  }

  async send() {
    const body = { repo: this.repo.value.trim(), weights: this.weights.value, private: this.private.checked };
    const token = this.token.value.trim();
    this.token.value = "";
    const answer = await attempt(() => call(`runs/${this.id}/publish`, {
      method: "POST", body: token ? { ...body, token } : body }));
    if (answer) await this.follow();
  }

  /** Follow the newest publication of this run until it has ended. */
  async follow() {
    const answer = await attempt(() => call(`jobs?subject=${this.id}&kind=publish`));
    const job = answer?.data.items[0];
    if (this.closed || !job) return;
    this.state.replaceChildren(...told(job));
    this.state.closest("details").open ||= LIVE.has(job.state);
    if (LIVE.has(job.state)) setTimeout(() => this.closed || this.follow(), POLL);
  }

  close() {
    this.closed = true;
  }
}

/** What a publication came to, in words. */
function told(job) {
  if (job.state === "finished") {
    const address = job.results.find((result) => result.published)?.published ?? "";
    return [el("p", {}, t("publish.done"), " ", outward(address))];
  }
  if (LIVE.has(job.state)) {
    const size = job.phase_total ? ` (${bytes(job.phase_total)})` : "";
    return [el("p", { class: "st-quiet" }, t("publish.busy") + size),
      ...job.warnings.map((warning) => el("p", { class: "st-quiet" }, warning.message))];
  }
  const { message, hint } = job.error ?? { message: t("publish.ended"), hint: "" };
  return [el("div", { class: "st-note st-note-bad" }, el("strong", {}, message), hint ? el("p", {}, hint) : null)];
}
