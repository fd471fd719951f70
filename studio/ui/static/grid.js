// The pictures of a data set, fifty at a time, with captions edited in place by mouse or keyboard.

import { address, attempt, call, el, say, t, whole } from "./kit.js";

const PAGE = 50;

export class Grid {
  /** `edited(answer)` is told of each saved caption, `opened(row)` of a picture that was asked for. */
  constructor(id, { edited, opened }) {
    Object.assign(this, { id, edited, opened, offset: 0, q: "", total: 0, rows: [] });
    this.list = el("div", { class: "st-pictures", id: "pictures", role: "group", "aria-label": t("datasets.pictures"),
      onkeydown: (event) => this.key(event) });
    this.pager = el("nav", { class: "st-pager", "aria-label": t("datasets.pages") });
    this.node = el("div", {}, this.list, this.pager);
  }

  /** Show the pictures whose captions or name contain `q`, from the first on. */
  find(q) {
    this.q = q.trim();
    this.offset = 0;
    return this.load();
  }

  /** Ask for the page and draw it; `at` is the place on it that the keyboard goes to. */
  async load(at = null) {
    const q = this.q ? `&q=${encodeURIComponent(this.q)}` : "";
    const asked = this.asked = {};
    const { data } = await call(`datasets/${this.id}/images?offset=${this.offset}&limit=${PAGE}${q}`);
    if (asked !== this.asked) return;  // somebody typed on: only the newest answer is shown
    if (!data.items.length && this.offset > 0) {  // the last page is gone
      this.offset = Math.max(0, PAGE * (Math.ceil(data.total / PAGE) - 1));
      await this.load(at);
      return;
    }
    this.rows = data.items;
    this.total = data.total;
    const empty = this.q ? t("datasets.none_found", { q: this.q }) : t("datasets.none");
    this.list.replaceChildren(...(this.rows.length ? this.rows.map((row, i) => this.picture(row, i))
      : [el("p", { class: "st-quiet" }, empty)]));
    this.turnable();
    if (at !== null) this.focus(at < 0 ? this.rows.length + at : at);
  }

  picture(row, i) {
    const captions = row.captions?.length ? row.captions : [""];
    const said = el("span", { class: "st-saved", role: "status" });
    const fields = captions.map((caption, place) => this.field(row, caption, place, captions.length, said));
    const split = row.split && row.split !== "train" ? el("span", { class: "st-tag st-split" }, row.split) : null;
    const times = row.repeats > 1 ? el("span", { class: "st-tag st-times", title: t("datasets.repeats_help", { count: row.repeats }) }, t("datasets.repeats", { count: row.repeats })) : null;
    return el("figure", {},
      el("button", { type: "button", class: "st-picture", tabindex: i === 0 ? 0 : -1,
        "aria-label": t("datasets.picture", { name: row.name, caption: captions[0] }), onclick: () => this.opened(row) },
      el("img", { src: address(row.thumb), alt: "", loading: "lazy", decoding: "async" })), split, times, fields, said);
  }

  field(row, caption, place, count, said) {
    const name = count > 1 ? t("datasets.caption_of", { name: row.name, number: place + 1, count }) : t("datasets.caption", { name: row.name });
    const field = el("textarea", { rows: count > 1 ? 1 : 2, "aria-label": name, placeholder: t("datasets.caption_empty"), value: caption,
      maxlength: 10000, onchange: () => this.write(row, place, field, said) });
    return field;
  }

  /** Keep one caption; the picture's others stay as they are. */
  async write(row, place, field, said) {
    const captions = row.captions?.length ? [...row.captions] : [""];
    if (captions[place] === field.value) return;
    captions[place] = field.value;
    const answer = await attempt(() => call(`datasets/${this.id}/images/${row.id}`, { method: "PATCH", body: { captions } }));
    if (!answer) return;
    row.captions = captions;
    say(said, t("datasets.saved"));
    setTimeout(() => say(said, ""), 2500);
    this.edited(answer.data, this);
  }

  // --------------------------------------------------------------------------------------------- the keyboard

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const figure = event.target.closest("figure");
    if (!figure) return;
    const done = event.target.matches("textarea") ? this.typing(event, figure) : this.walking(event, figure);
    if (done) event.preventDefault();
  }

  /** In a caption: Enter keeps it and goes on to the next picture's, Escape takes back what was typed. */
  typing(event, figure) {
    const field = event.target;
    if (event.key === "Enter" && !event.shiftKey) {
      const next = figure.nextElementSibling?.querySelector("textarea");
      field.blur();
      if (next) next.focus();
      else this.turn(1, (this.offset + PAGE < this.total) ? 0 : null);
      return true;
    }
    if (event.key !== "Escape") return false;
    const at = [...figure.querySelectorAll("textarea")].indexOf(field);
    field.value = this.rows[this.place(figure)].captions?.[at] ?? "";
    this.focus(this.place(figure));
    return true;
  }

  /** On a picture: the arrows walk over the grid and its pages, F2 edits its caption, Enter and Space open it. */
  walking(event, figure) {
    const at = this.place(figure);
    const tops = [...this.list.children].map((node) => node.offsetTop);
    const columns = Math.max(1, tops.filter((top) => top === tops[0]).length);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by) this.walk(at + by);
    else if (event.key === "Home") this.focus(0);
    else if (event.key === "End") this.focus(this.rows.length - 1);
    else if (event.key === "PageDown") this.turn(1, 0);
    else if (event.key === "PageUp") this.turn(-1, 0);
    else if (event.key === "F2") figure.querySelector("textarea").focus();
    else return false;
    return true;
  }

  walk(to) {
    if (to < 0) this.turn(-1, -1);
    else if (to >= this.rows.length) this.turn(1, 0);
    else this.focus(to);
  }

  place(figure) {
    return [...this.list.children].indexOf(figure);
  }

  focus(at) {
    const buttons = this.list.querySelectorAll(".st-picture");
    buttons.forEach((button, i) => { button.tabIndex = i === at ? 0 : -1; });
    buttons[at]?.focus();
  }

  // ----------------------------------------------------------------------------------------------- its pages

  turnable() {
    const last = this.offset + this.rows.length;
    const step = (key, by, off) => el("button", { type: "button", class: "st-button st-small", disabled: off,
      onclick: () => this.turn(by, 0) }, t(`datasets.${key}`));
    this.pager.replaceChildren(...(this.total > PAGE ? [
      step("previous", -1, this.offset === 0),
      el("span", {}, t("datasets.page", { from: whole(this.offset + 1), to: whole(last), total: whole(this.total) })),
      step("next", 1, last >= this.total)] : []));
  }

  turn(by, at) {
    const offset = this.offset + by * PAGE;
    if (offset < 0 || offset >= this.total) return;
    this.offset = offset;
    attempt(async () => {
      await this.load(at);
      this.list.scrollIntoView({ block: "nearest" });
    });
  }
}
