// @ts-check
// The health of a data set: what may spoil a training, each with a fix that can be taken back; sizes and buckets.

import { address, attempt, button, call, el, number, t, toast, whole } from "../kit/kit.js";
import { submitting } from "../kit/pieces.js";
import { buckets, histogram } from "./histogram.js";

/** @import { Finding, FoundPicture, Health as Measured } from "../../types/api.js" */
/** @import { SetPage } from "../../types/page.js" */

const SHOWN = 12;

export class Health {
  /** @param {SetPage} page */
  constructor(page) {
    this.page = page;
    this.measured = false;
    /** What was asked for last. */
    this.asked = {};
    const { base, resolution } = page.aim.draw("health", () => this.load());
    const short = { type: "text", maxlength: 200, autocomplete: "off", id: "health-trigger" };
    this.trigger = el("input", short);
    this.findings = el("div", { class: "st-findings" }, el("p", { class: "st-quiet" }, t("datasets.loading")));
    const form = el(
      "form",
      { class: "st-inline-form st-wishes", onsubmit: submitting(() => this.load()) },
      base,
      resolution,
      el("label", {}, t("health.trigger"), this.trigger),
      el("button", { type: "submit", class: "st-button" }, t("health.look")),
    );
    this.node = el("div", { id: "health" }, form, this.findings);
  }

  /** What is looked for besides the base and the size. */
  get more() {
    const trigger = this.trigger.value.trim();
    /** @type {Record<string, string>} */
    const more = trigger ? { trigger } : {};
    return more;
  }

  load() {
    const asked = {};
    this.asked = asked;
    return attempt(async () => {
      const query = new URLSearchParams({ ...this.page.aim.query, ...this.more });
      const { data } = await call(`datasets/${this.page.id}/health?${query}`);
      if (asked !== this.asked) return; // another base or size was wished for since: an older answer may come later
      this.draw(data);
      if (data.measured < data.count) await this.measure();
    });
  }

  /** Copies that are not exact, and blur, need a look at the pixels: once. */
  async measure() {
    if (this.measured) return;
    this.measured = true;
    await call(`datasets/${this.page.id}/health`, { method: "POST", body: {} });
    this.page.watch();
  }

  /** @param {Measured} data */
  draw(data) {
    const notes = notesOn(data).map((text) => el("p", { class: "st-note" }, text));
    const findings = data.findings.map((finding) => this.finding(finding));
    const sizes = [histogram("short_side", data.short_side), histogram("aspect", data.aspect), buckets(data.buckets)];
    this.findings.replaceChildren(...notes, ...findings, el("div", { class: "st-histograms" }, ...sizes));
  }

  /** @param {Finding} finding */
  finding({ code, count, fixes, items }) {
    const shown = items.slice(0, SHOWN);
    const more = count - shown.length;
    const buttons = fixes.map((fix) =>
      button(t(`fix.${fix}`), {
        class: "st-button st-small",
        "data-fix": fix,
        onclick: ({ currentTarget }) => this.fix(code, fix, currentTarget),
      }),
    );
    const title = el("h2", {}, t(`finding.${code}`, { count: whole(count) }));
    return el(
      "section",
      { class: "st-card st-finding", id: `finding-${code}` },
      el("div", { class: "st-card-head" }, title, el("div", { class: "st-actions" }, ...buttons)),
      el("p", { class: "st-quiet" }, t(`finding.${code}_help`)),
      el("div", { class: "st-faulty" }, ...shown.map((item) => this.picture(item))),
      more > 0 ? el("p", { class: "st-quiet st-small-text" }, t("health.more", { count: whole(more) })) : null,
    );
  }

  /** A picture with what is wrong with it, and beside the one it is a copy of. @param {FoundPicture} item */
  picture(item) {
    const label = t("datasets.picture", { name: item.name, caption: item.captions?.[0] ?? "" });
    const open = { type: "button", class: "st-picture", "aria-label": label, onclick: () => this.page.open(item) };
    const original = item.of && address(`api/datasets/${this.page.id}/images/${item.of}/thumb`);
    const facts = factsOf(item).map((fact) => el("small", {}, fact));
    const cuts = (item.encoders ?? []).slice(0, 1);
    const captions = cuts.map(({ caption, cut }) => el("small", {}, caption, el("s", { class: "st-cut" }, cut)));
    return el(
      "figure",
      {},
      el(
        "button",
        open,
        el("img", { src: address(item.thumb), alt: "", loading: "lazy" }),
        original ? el("img", { src: original, alt: "", loading: "lazy", class: "st-of" }) : null,
      ),
      el("figcaption", {}, item.name, ...facts, ...captions),
    );
  }

  /** @param {string} code @param {string} fix @param {HTMLButtonElement} pressed */
  async fix(code, fix, pressed) {
    const body = { finding: code, fix, ...this.page.aim.asJson, ...this.more };
    pressed.disabled = true;
    const answer = await attempt(() => call(`datasets/${this.page.id}/fix`, { method: "POST", body }));
    pressed.disabled = false;
    if (!answer) return;
    toast(t("health.fixed", { count: whole(answer.data.changed) }));
    this.page.changed(answer.data.id);
  }
}

/** What is to be said of the whole. @param {Measured} data */
function notesOn({ count, measured, findings, encoders, resolution }) {
  const notes = encoders.length ? [] : [t("health.no_base", { size: resolution })];
  if (measured < count) notes.push(t("health.measuring", { done: whole(measured), total: whole(count) }));
  else if (!findings.length) notes.push(t("health.good"));
  return notes;
}

/** @param {FoundPicture} item */
function factsOf({ side, aspect, blur, times }) {
  const facts = [];
  if (side) facts.push(t("health.side", { side: whole(side) }));
  if (aspect) facts.push(t("health.aspect", { value: number(aspect, 3) }));
  if (blur) facts.push(t("health.blur", { value: number(blur, 2) }));
  if (times) facts.push(t("health.times", { count: whole(times) }));
  return facts;
}
