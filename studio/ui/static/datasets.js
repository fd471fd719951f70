// The page *Datasets*: bringing pictures in, the list, and one data set with its captions.

import { follow, go } from "./app.js";
import { address, attempt, call, confirm, el, say, t, toast, when, whole } from "./kit.js";
import { refusal } from "./parts.js";
import { poll } from "./poll.js";
import { uploader } from "./upload.js";

const PAGE = 50;

export function mount(root) {
  const place = root.querySelector(".st-live");
  let shown = null;
  follow(({ page, dataset }) => {
    const wanted = page === "datasets" ? dataset ?? "" : null;
    if (wanted === shown && wanted !== "") return;
    shown = wanted;
    if (wanted === null) return;
    if (wanted) new SetView(wanted, place).open();
    else list(place);
  });
}

const counted = (count) => (count === 1 ? t("datasets.count_one") : t("datasets.count", { count: whole(count) }));

function list(place) {
  const body = el("div", { id: "dataset-list", class: "st-sets" }, el("p", { class: "st-quiet" }, t("datasets.loading")));
  place.replaceChildren(
    el("div", { class: "st-title" }, el("h1", {}, t("datasets.title")), el("p", {}, t("datasets.lead"))),
    el("div", { class: "st-set-columns" }, body, uploader((set) => go({ dataset: set.id }))));
  let tag = null;
  let busy = false;
  poll(async () => {
    const answer = await call("datasets", { tag });
    if (answer.data) {
      tag = answer.tag;
      busy = answer.data.items.some((set) => set.state === "importing");
      body.replaceChildren(...answer.data.items.map(card));
    }
    return busy ? 1500 : null;
  }, (error) => body.replaceChildren(refusal(error)));
}

function card(set) {
  const strip = el("div", { class: "st-thumbs", "aria-hidden": "true" }, (set.cover ?? []).slice(0, 4).map((url) =>
    el("img", { src: address(url), alt: "", loading: "lazy", decoding: "async" })));
  const state = set.state === "ready" ? counted(set.count) : t(`datasets.state_${set.state}`);
  return el("a", { class: "st-card st-set", href: `?dataset=${set.id}` }, strip,
    el("strong", {}, set.name), el("span", { class: "st-quiet" },
      [state, set.read_only ? t("datasets.shipped") : when(set.created)].join(" · ")));
}

class SetView {
  constructor(id, place) {
    Object.assign(this, { id, place, offset: 0, q: "" });
  }

  open() {
    this.place.replaceChildren(el("p", { class: "st-quiet" }, t("datasets.loading")));
    poll(async () => {
      const { data } = await call(`datasets/${this.id}`);
      this.set = data;
      this.build();
      if (data.state === "importing") return 1000;
      await this.load();
      return null;
    }, (error) => this.place.replaceChildren(refusal(error, t("datasets.gone_title"))));
  }

  build() {
    const { set } = this;
    this.undo = el("button", { type: "button", class: "st-button", id: "dataset-undo", hidden: !set.can_undo,
      onclick: () => this.takeBack() }, t("datasets.undo"));
    const search = el("input", { type: "search", id: "dataset-search", placeholder: t("datasets.search"),
      "aria-label": t("datasets.search"), value: this.q,
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.find(search.value), 250); } });
    this.grid = el("div", { class: "st-pictures", id: "pictures" });
    this.pager = el("div", { class: "st-pager" });
    const words = set.state === "ready" ? counted(set.count) : t(`datasets.state_${set.state}`);
    this.place.replaceChildren(
      el("a", { class: "st-back", href: "?view=datasets" }, `‹ ${t("datasets.all")}`),
      el("div", { class: "st-run-head" },
        el("div", {}, el("h1", { id: "dataset-title" }, set.name), el("p", { class: "st-quiet", role: "status" },
          [words, set.read_only ? t("datasets.shipped") : null].filter(Boolean).join(" · "))),
        el("div", { class: "st-actions" }, this.actions())),
      ...report(set),
      el("div", { class: "st-set-tools" }, search, this.undo), this.grid, this.pager);
  }

  actions() {
    const { set } = this;
    const button = (key, look, action) => el("button", { type: "button", class: `st-button ${look}`,
      id: `dataset-${key}`, onclick: action }, t(`datasets.${key}`));
    return [
      set.state === "ready" ? button("train", "st-primary", () =>
        window.dispatchEvent(new CustomEvent("studio:use-dataset", { detail: set.id }))) : null,
      set.read_only ? null : button("rename", "", () => this.rename()),
      set.read_only ? null : button("delete", "st-danger", () => this.remove()),
    ];
  }

  rename() {
    const input = el("input", { type: "text", value: this.set.name, maxlength: 200, "aria-label": t("datasets.name"), id: "dataset-new-name" });
    const form = el("form", { class: "st-inline-form", onsubmit: async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name && await attempt(() => call(`datasets/${this.id}`, { method: "PATCH", body: { name } }))) this.open();
    } }, input, el("button", { type: "submit", class: "st-button st-primary" }, t("datasets.rename")));
    document.getElementById("dataset-title").replaceChildren(form);
    input.select();
  }

  async remove() {
    if (!(await confirm(t("datasets.delete_sure"), t("datasets.delete_yes"), t("datasets.keep")))) return;
    if (await attempt(() => call(`datasets/${this.id}`, { method: "DELETE" }))) go({ view: "datasets" });
  }

  async takeBack() {
    if (!(await attempt(() => call(`datasets/${this.id}/undo`, { method: "POST", body: {} })))) return;
    toast(t("datasets.undone"));
    await attempt(async () => {
      this.set = (await call(`datasets/${this.id}`)).data;
      this.undo.hidden = !this.set.can_undo;
      await this.load();
    });
  }

  find(q) {
    this.q = q.trim();
    this.offset = 0;
    attempt(() => this.load());
  }

  async load() {
    const q = this.q ? `&q=${encodeURIComponent(this.q)}` : "";
    const asked = this.asked = {};
    const { data } = await call(`datasets/${this.id}/images?offset=${this.offset}&limit=${PAGE}${q}`);
    if (asked !== this.asked) return;  // somebody typed on: only the newest answer is shown
    const empty = this.q ? t("datasets.none_found", { q: this.q }) : t("datasets.none");
    this.grid.replaceChildren(...(data.items.length ? data.items.map((row) => this.picture(row))
      : [el("p", { class: "st-quiet" }, empty)]));
    this.turn(data.total ?? this.set.count, data.items.length);
  }

  picture(row) {
    const caption = row.captions?.[0] ?? "";
    const said = el("span", { class: "st-saved", role: "status" });
    const field = el("textarea", { rows: 2, "aria-label": t("datasets.caption", { name: row.name }),
      placeholder: t("datasets.caption_empty"), value: caption, maxlength: 4000,
      onchange: () => this.write(row, field, said),
      onkeydown: (e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); field.blur(); } } });
    return el("figure", {}, el("img", { src: address(row.thumb), loading: "lazy", decoding: "async",
      alt: t("datasets.picture", { name: row.name, caption }) }), field, said);
  }

  async write(row, field, said) {
    const answer = await attempt(() => call(`datasets/${this.id}/images/${row.id}`,
      { method: "PATCH", body: { caption: field.value } }));
    if (!answer) return;
    const { dataset } = answer.data;
    if (dataset !== this.id) {  // the shipped set is copied on its first edit
      toast(t("datasets.copied"));
      go({ dataset });
      return;
    }
    this.undo.hidden = false;
    say(said, t("datasets.saved"));
    setTimeout(() => say(said, ""), 2500);
  }

  turn(total, count) {
    const step = (key, by, off) => el("button", { type: "button", class: "st-button st-small", disabled: off,
      onclick: () => { this.offset += by; attempt(() => this.load()); this.place.scrollIntoView(); } }, t(`datasets.${key}`));
    this.pager.replaceChildren(...(total > PAGE ? [
      step("previous", -PAGE, this.offset === 0),
      el("span", {}, t("datasets.page", { from: whole(this.offset + 1), to: whole(this.offset + count), total: whole(total) })),
      step("next", PAGE, this.offset + count >= total)] : []));
  }
}

function report({ report: found, state }) {
  const parts = [];
  if (state === "failed") parts.push(el("p", { class: "st-note st-note-bad", role: "alert" }, found?.error ?? t("datasets.state_failed")));
  if (found && found.seen !== undefined && found.seen !== null) {
    const skipped = found.skipped ?? [];
    const words = t("datasets.report", { seen: whole(found.seen), used: whole(found.used), converted: whole(found.converted), skipped: whole(skipped.length) });
    parts.push(el("div", { class: "st-note", id: "import-report" }, el("strong", {}, t("datasets.report_title")), el("p", {}, words),
      found.notes?.length ? el("ul", {}, found.notes.map((note) => el("li", {}, note))) : null,
      skipped.length ? el("details", { open: skipped.length < 6 }, el("summary", {}, t("datasets.skipped")),
        el("ul", {}, skipped.map((one) => el("li", {}, `${one.file}: ${one.reason}`)))) : null));
  }
  return parts;
}
