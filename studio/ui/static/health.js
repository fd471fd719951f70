// The health of a data set: what may spoil a training, each with a fix that can be taken back; sizes and buckets.

import { address, attempt, call, el, number, t, toast, whole } from "./kit.js";

const SHOWN = 12;

export class Health {
  /** `set` answers for the page: {id, aim, changed(dataset), watch(job), open(row)}. */
  constructor(set) {
    this.set = set;
    const { base, resolution } = set.aim.draw("health", () => this.load());
    this.trigger = el("input", { type: "text", maxlength: 200, autocomplete: "off", id: "health-trigger" });
    this.found = el("div", { class: "st-findings" }, el("p", { class: "st-quiet" }, t("datasets.loading")));
    this.node = el("div", { id: "health" }, el("form", { class: "st-inline-form st-wishes", onsubmit: (event) => { event.preventDefault(); this.load(); } },
      base, resolution, el("label", {}, t("health.trigger"), this.trigger),
      el("button", { type: "submit", class: "st-button" }, t("health.look"))), this.found);
  }

  get wanted() {
    const trigger = this.trigger.value.trim();
    return { ...this.set.aim.wanted, ...(trigger ? { trigger } : {}) };
  }

  load() {
    const asked = this.asked = {};
    return attempt(async () => {
      const { data } = await call(`datasets/${this.set.id}/health?${new URLSearchParams(this.wanted)}`);
      if (asked !== this.asked) return;  // another base or size was wished for since: an older answer may come later
      this.draw(data);
      if (data.measured < data.count && !this.measured) {  // copies that are not exact, and blur, need a look at the pixels
        this.measured = true;
        await call(`datasets/${this.set.id}/health`, { method: "POST", body: {} });
        this.set.watch();
      }
    });
  }

  draw(data) {
    const { findings } = data;
    const words = data.measured < data.count ? t("health.measuring", { done: whole(data.measured), total: whole(data.count) })
      : findings.length ? null : t("health.good");
    const missing = data.encoders.length ? null : t("health.no_base", { size: data.resolution });
    this.found.replaceChildren(...[missing, words].filter(Boolean).map((text) => el("p", { class: "st-note" }, text)), ...[...findings.map((one) => this.finding(one)),
      el("div", { class: "st-histograms" }, histogram("short_side", data.short_side), histogram("aspect", data.aspect), buckets(data.buckets))].filter(Boolean));
  }

  finding({ code, count, fixes, items }) {
    const more = count - Math.min(items.length, SHOWN);
    return el("section", { class: "st-card st-finding", id: `finding-${code}` },
      el("div", { class: "st-card-head" }, el("h2", {}, t(`finding.${code}`, { count: whole(count) })),
        el("div", { class: "st-actions" }, fixes.map((fix) => el("button", { type: "button", class: "st-button st-small", "data-fix": fix,
          onclick: (event) => this.fix(code, fix, event.currentTarget) }, t(`fix.${fix}`))))),
      el("p", { class: "st-quiet" }, t(`finding.${code}_help`)),
      el("div", { class: "st-faulty" }, items.slice(0, SHOWN).map((item) => this.item(item))),
      more > 0 ? el("p", { class: "st-quiet st-small-text" }, t("health.more", { count: whole(more) })) : null);
  }

  item(item) {
    const facts = [item.side ? t("health.side", { side: whole(item.side) }) : null, item.aspect ? t("health.aspect", { value: number(item.aspect, 3) }) : null,
      item.blur ? t("health.blur", { value: number(item.blur, 2) }) : null, item.times ? t("health.times", { count: whole(item.times) }) : null].filter(Boolean);
    return el("figure", {},
      el("button", { type: "button", class: "st-picture", "aria-label": t("datasets.picture", { name: item.name, caption: item.captions?.[0] ?? "" }),
        onclick: () => this.set.open(item) }, el("img", { src: address(item.thumb), alt: "", loading: "lazy" }),
      item.of ? el("img", { src: address(`api/datasets/${this.set.id}/images/${item.of}/thumb`), alt: "", loading: "lazy", class: "st-of" }) : null),
      el("figcaption", {}, item.name, facts.map((fact) => el("small", {}, fact)),
        (item.encoders ?? []).slice(0, 1).map((cut) => el("small", {}, cut.caption, el("s", { class: "st-cut" }, cut.cut)))));
  }

  async fix(code, fix, button) {
    button.disabled = true;
    const answer = await attempt(() => call(`datasets/${this.set.id}/fix`, { method: "POST", body: { finding: code, fix, ...this.wanted } }));
    button.disabled = false;
    if (!answer) return;
    toast(t("health.fixed", { count: whole(answer.data.changed) }));
    this.set.changed(answer.data.id);
  }
}

/** A histogram as rows: a class, its share as a bar, its count. */
function histogram(key, classes) {
  const most = Math.max(1, ...classes.map((one) => one.count));
  return el("section", { class: "st-card" }, el("h2", {}, t(key === "aspect" ? "health.aspect_title" : `health.${key}`)), el("dl", { class: "st-bars" }, classes.map((one) => {
    const words = one.to === null ? t("health.from", { from: number(one.from, 3) }) : one.from ? t("health.between", { from: number(one.from, 3), to: number(one.to, 3) })
      : t("health.below", { to: number(one.to, 3) });
    return bar(words, one.count, most);
  })));
}

function buckets(found) {
  const most = Math.max(1, ...found.map((one) => one.count));
  return el("section", { class: "st-card" }, el("h2", {}, t("health.buckets")), el("p", { class: "st-quiet st-small-text" }, t("health.buckets_help")),
    el("dl", { class: "st-bars" }, found.map((one) => bar(t("health.size", { width: one.width, height: one.height }), one.count, most))));
}

const bar = (words, count, most) => el("div", {}, el("dt", {}, words),
  el("dd", {}, el("i", { style: `width:${(100 * count) / most}%` }), el("span", {}, whole(count))));
