// @ts-check
// The pictures of a data set, fifty at a time, with captions edited in place by mouse or keyboard.

import { LONGEST } from "../kit/facts.js";
import { address, attempt, button, call, el, say, t, whole } from "../kit/kit.js";
import { columnsIn, stepBy } from "./walking.js";

/** @import { Picture } from "../../types/api.js" */
/**
 * @typedef {object} Listeners
 * @property {(dataset: string, grid: Grid) => void} edited told of each saved caption, and the data set it is in now
 * @property {(picture: Picture) => void} opened told of a picture that was asked for
 */

const PAGE = 50;
const SAID = 2500; // milliseconds for which a caption is status to be saved

export class Grid {
  /** @param {string} id of the data set @param {Listeners} listeners */
  constructor(id, { edited, opened }) {
    this.id = id;
    this.edited = edited;
    this.opened = opened;
    this.offset = 0;
    this.q = "";
    this.total = 0;
    /** @type {Picture[]} */
    this.rows = [];
    /** What was asked for last. */
    this.asked = {};
    this.list = el("div", {
      class: "st-pictures",
      id: "pictures",
      role: "group",
      "aria-label": t("datasets.pictures"),
      onkeydown: (event) => this.key(event),
    });
    this.pager = el("nav", { class: "st-pager", "aria-label": t("datasets.pages") });
    this.node = el("div", {}, this.list, this.pager);
  }

  /** Show the pictures whose captions or name contain `q`, from the first on. @param {string} q */
  find(q) {
    this.q = q.trim();
    this.offset = 0;
    return this.load();
  }

  /** Ask for the page and draw it; `at` is the place on it that the keyboard goes to.
   * @param {number | null} [at] @returns {Promise<void>} */
  async load(at = null) {
    const asked = {};
    this.asked = asked;
    const q = this.q ? `&q=${encodeURIComponent(this.q)}` : "";
    const { data } = await call(`datasets/${this.id}/images?offset=${this.offset}&limit=${PAGE}${q}`);
    if (asked !== this.asked) return; // somebody typed on: only the newest answer is shown
    const lastPageIsGone = !data.items.length && this.offset > 0;
    if (lastPageIsGone) {
      this.offset = Math.max(0, PAGE * (Math.ceil(data.total / PAGE) - 1));
      await this.load(at);
      return;
    }
    this.rows = data.items;
    this.total = data.total;
    this.draw();
    if (at !== null) this.focus(at < 0 ? this.rows.length + at : at);
  }

  draw() {
    const words = this.q ? t("datasets.none_found", { q: this.q }) : t("datasets.none");
    const none = el("p", { class: "st-quiet" }, words);
    const pictures = this.rows.map((row, place) => this.picture(row, place));
    this.list.replaceChildren(...(pictures.length ? pictures : [none]));
    this.drawPager();
  }

  /** @param {Picture} row @param {number} place */
  picture(row, place) {
    const captions = captionsOf(row);
    const status = el("span", { class: "st-saved", role: "status" });
    const fields = captions.map((_, number) => this.field(row, number, status));
    const open = {
      type: "button",
      class: "st-picture",
      tabindex: place === 0 ? 0 : -1,
      "aria-label": t("datasets.picture", { name: row.name, caption: captions[0] }),
      onclick: () => this.opened(row),
    };
    const thumb = el("img", { src: address(row.thumb), alt: "", loading: "lazy", decoding: "async" });
    return el("figure", {}, el("button", open, thumb), ...marks(row), ...fields, status);
  }

  /** The field of one of a picture's captions. @param {Picture} row @param {number} number @param {HTMLElement} status */
  field(row, number, status) {
    const captions = captionsOf(row);
    const { name } = row;
    const count = captions.length;
    const several = count > 1;
    const label = several
      ? t("datasets.caption_of", { name, number: number + 1, count })
      : t("datasets.caption", { name });
    return el("textarea", {
      rows: several ? 1 : 2,
      "aria-label": label,
      placeholder: t("datasets.caption_empty"),
      value: captions[number],
      maxlength: LONGEST.caption,
      onchange: ({ currentTarget }) => this.write(row, number, currentTarget.value, status),
    });
  }

  /** Keep one caption; the picture's others stay as they are.
   * @param {Picture} row @param {number} number @param {string} text @param {HTMLElement} status */
  async write(row, number, text, status) {
    const captions = [...captionsOf(row)];
    if (captions[number] === text) return;
    captions[number] = text;
    const body = { captions };
    const answer = await attempt(() => call(`datasets/${this.id}/images/${row.id}`, { method: "PATCH", body }));
    if (!answer) return;
    row.captions = captions;
    say(status, t("datasets.saved"));
    setTimeout(() => say(status, ""), SAID);
    this.edited(answer.data.dataset, this);
  }

  // --------------------------------------------------------------------------------------------- the keyboard

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof Element)) return;
    const figure = event.target.closest("figure");
    if (!figure) return;
    const field = event.target instanceof HTMLTextAreaElement ? event.target : null;
    const done = field ? this.typing(event, field, figure) : this.walking(event.key, figure);
    if (done) event.preventDefault();
  }

  /** In a caption: Enter keeps it and goes on to the next picture's, Escape takes back what was typed.
   * @param {KeyboardEvent} event @param {HTMLTextAreaElement} field @param {HTMLElement} figure */
  typing(event, field, figure) {
    if (event.key === "Enter" && !event.shiftKey) {
      const next = figure.nextElementSibling?.querySelector("textarea");
      field.blur();
      if (next) next.focus();
      else this.turn(1, this.offset + PAGE < this.total ? 0 : null);
      return true;
    }
    if (event.key !== "Escape") return false;
    const place = this.place(figure);
    const number = [...figure.querySelectorAll("textarea")].indexOf(field);
    field.value = this.rows[place].captions?.[number] ?? "";
    this.focus(place);
    return true;
  }

  /** On a picture: the arrows walk over the grid and its pages, F2 edits its caption, Enter and Space open it.
   * @param {string} key @param {HTMLElement} figure */
  walking(key, figure) {
    if (key === "F2") {
      figure.querySelector("textarea")?.focus();
      return true;
    }
    const figures = /** @type {HTMLElement[]} */ ([...this.list.children]);
    const columns = columnsIn(figures.map((one) => one.offsetTop));
    const step = stepBy(key, this.place(figure), columns, this.rows.length);
    if (!step) return false;
    if ("page" in step) this.turn(step.page, step.at);
    else this.focus(step.at);
    return true;
  }

  /** @param {Element} figure */
  place(figure) {
    return [...this.list.children].indexOf(figure);
  }

  /** @param {number} at */
  focus(at) {
    /** @type {NodeListOf<HTMLButtonElement>} */
    const buttons = this.list.querySelectorAll(".st-picture");
    buttons.forEach((one, place) => {
      one.tabIndex = place === at ? 0 : -1;
    });
    buttons[at]?.focus();
  }

  // ----------------------------------------------------------------------------------------------- its pages

  drawPager() {
    const last = this.offset + this.rows.length;
    /** @param {string} key @param {-1 | 1} by @param {boolean} disabled */
    const step = (key, by, disabled) =>
      button(t(`datasets.${key}`), { class: "st-button st-small", disabled, onclick: () => this.turn(by, 0) });
    const words = { from: whole(this.offset + 1), to: whole(last), total: whole(this.total) };
    const parts = [
      step("previous", -1, this.offset === 0),
      el("span", {}, t("datasets.page", words)),
      step("next", 1, last >= this.total),
    ];
    this.pager.replaceChildren(...(this.total > PAGE ? parts : []));
  }

  /** Another page; the keyboard goes to place `at` on it. @param {-1 | 1} by @param {number | null} at */
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

/** A picture's captions; an empty one where it has none. @param {Picture} row */
const captionsOf = (row) => (row.captions?.length ? row.captions : [""]);

/** Which split a picture is in, and how often it is learned from, where that is not the usual. @param {Picture} row */
function marks({ split, repeats }) {
  const marks = [];
  if (split && split !== "train") marks.push(el("span", { class: "st-tag st-split" }, split));
  if (repeats && repeats > 1) {
    const times = { class: "st-tag st-times", title: t("datasets.repeats_help", { count: repeats }) };
    marks.push(el("span", times, t("datasets.repeats", { count: repeats })));
  }
  return marks;
}
