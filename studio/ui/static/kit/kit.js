// @ts-check
// Small things every page's script uses: words, elements, numbers, and calls to the studio.

import { compare } from "./clock.js";
import { filled, formats } from "./format.js";

/**
 * @typedef {(key: string, values?: Record<string, unknown>) => string} Translate
 * @typedef {Node | string | null | undefined | false} Child
 */
/**
 * What `el` puts on an element: attributes, properties that change (value, checked, disabled, hidden), and listeners.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @typedef {{ [Name in keyof GlobalEventHandlersEventMap as `on${Name}`]?: (event: GlobalEventHandlersEventMap[Name] &
 *   { currentTarget: HTMLElementTagNameMap[Tag] }) => unknown } & { [attribute: string]: unknown }} Attributes
 */

const table = existing("studio-texts");
/** @type {Record<string, string>} */
const words = JSON.parse(table.textContent ?? "{}");
/** The page's language, and the browser's own kind of it (en-GB) where it has one: for dates and numbers. */
const language = table.dataset.language ?? "en";
const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? language;
document.documentElement.lang = language;

/** A text of the table with its values put in. @type {Translate} */
export function t(key, values = {}) {
  return filled(words[key] ?? key, values);
}

/** Whether the table has this text. @param {string} key */
export const has = (key) => key in words;

/** A text of the table where it has one, else `otherwise`. @param {string} key @param {string} otherwise */
export const textOr = (key, otherwise) => (has(key) ? t(key) : otherwise);

/** Numbers, sizes, times, dates and lists as the page's language writes them. */
export const { bytes, duration, listed, number, whole, when } = formats(t, locale);

/** What a phase counts, in words; bytes bring their own unit. @param {string | null} [name] */
export const unit = (name) => textOr(`unit.${name}`, "");

// ------------------------------------------------------------------------------------------------------- elements

export const HUB = "https://huggingface.co/";

/**
 * Whether a page may lead to, or fetch a picture from, an address that may come from somebody's data: one of the
 * studio's own, what the browser itself holds, or a page of the Hub.
 * @param {"href" | "src"} name
 * @param {string} value
 */
function permitted(name, value) {
  if (!URL.canParse(value, document.baseURI)) return false;
  const url = new URL(value, document.baseURI);
  if (url.protocol === "data:") return /^data:image\/(png|jpeg|webp|gif)[;,]/.test(url.href);
  return url.origin === location.origin || (name === "href" && url.href.startsWith(HUB));
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden"]);

/**
 * An element. Text children become text nodes: nothing a person wrote is ever parsed as HTML. An address that is not
 * permitted is left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes<Tag>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) put(node, name, value);
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** @param {HTMLElement} node @param {string} name @param {unknown} value */
function put(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if ((name === "href" || name === "src") && !permitted(name, String(value))) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
  else if (PROPERTIES.has(name)) Object.assign(node, { [name]: value });
  else node.setAttribute(name, value === true ? "" : String(value));
}

/** The element of this id, which the page always has. @param {string} id */
export function existing(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/**
 * The first element below `node` that a selector names, which is always there.
 * @template {Element} [Match=HTMLElement]
 * @param {ParentNode} node
 * @param {string} selector
 * @returns {Match}
 */
export function within(node, selector) {
  const match = node.querySelector(selector);
  if (!match) throw new Error(`there is no ${selector}`);
  return /** @type {Match} */ (match);
}

/** Set an element's text only when it changes, so that a screen reader is not told the same twice.
 * @param {Element} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// ---------------------------------------------------------------------------------------------- calls to the studio

/** What the studio says when it does not do what it was asked. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {string} [hint]
   * @param {import("../../types/api.js").Problem[]} [problems]
   */
  constructor(status, message, hint, problems = []) {
    super(message);
    this.status = status;
    this.hint = hint;
    this.problems = problems;
  }

  /** Message and hint in one line. */
  get words() {
    return [this.message, this.hint].filter(Boolean).join(" ");
  }
}

/** What went wrong, in words: the studio's own, else `otherwise`. @param {unknown} error */
export const wordsOf = (error, otherwise = t("app.reconnecting")) =>
  error instanceof ApiError ? error.words : otherwise;

/** The address of something under /api, also when the studio lies below another path; null for one outside it, and for
 * none. @param {string | null | undefined} path */
export function address(path) {
  if (!path) return null;
  const api = new URL("api/", document.baseURI).href;
  const { href } = new URL(String(path).replace(/^\//, ""), document.baseURI);
  return href.startsWith(api) ? href : null;
}

/**
 * @template {string} Path
 * @template {import("../../types/api.js").Method} Method
 * @typedef {import("../../types/api.js").AnswerTo<Method, Path>} AnswerTo
 */
/**
 * Call the studio. Resolves to {data, tag}; with the tag of an earlier answer, data is null when nothing changed since.
 * Rejects with ApiError.
 * @template {string} Path
 * @template {import("../../types/api.js").Method} [Method="GET"]
 * @overload
 * @param {Path} path
 * @param {{ method?: Method, body?: object, tag?: undefined }} [asked]
 * @returns {Promise<{ data: AnswerTo<Path, Method>, tag: string | null }>}
 */
/**
 * @template {string} Path
 * @overload
 * @param {Path} path
 * @param {{ tag: string | null | undefined }} asked
 * @returns {Promise<{ data: AnswerTo<Path, "GET"> | null, tag: string | null }>}
 */
/**
 * @param {string} path
 * @param {{ method?: string, body?: object, tag?: string | null }} [asked]
 * @returns {Promise<{ data: any, tag: string | null }>}
 */
export async function call(path, { method = "GET", body, tag } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag) headers["If-None-Match"] = tag;
  const place = address(`api/${path}`);
  if (!place) throw new ApiError(404, t("app.not_found"));
  const sent = performance.now();
  const answer = await fetch(place, {
    method,
    headers,
    cache: "no-store",
    credentials: "same-origin",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  compare(answer.headers.get("X-Studio-Time"), sent, performance.now());
  if (answer.status === 304) return { data: null, tag: tag ?? null };
  const text = await answer.text();
  if (!answer.ok) throw fault(answer.status, text);
  return { data: text ? JSON.parse(text) : {}, tag: answer.headers.get("ETag") };
}

/** What an unhappy answer says, in words. @param {number} status @param {string} text */
export function fault(status, text) {
  if (status === 401) return new ApiError(status, t("app.unauthorized"));
  const error = errorIn(text);
  if (error?.message) return new ApiError(status, error.message, error.hint, error.problems);
  return new ApiError(status, status === 404 ? t("app.not_found") : t("app.failed", { status }));
}

/** The studio's own words in an answer; null in one of a proxy's.
 * @param {string} text
 * @returns {import("../../types/api.js").Fault | null} */
function errorIn(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return null;
  }
}

// ------------------------------------------------------------------------------------------------ words for a person

/**
 * Ask before something that cannot be taken back. Resolves to whether the person agreed.
 * @param {string} question
 * @param {string} yes
 * @param {string} no
 * @returns {Promise<boolean>}
 */
export function confirm(question, yes, no) {
  return new Promise((resolve) => {
    /** @param {boolean} answer */
    const close = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const refuse = button(no, { onclick: () => close(false) });
    const agree = button(yes, { class: "st-button st-danger", id: "confirm-yes", onclick: () => close(true) });
    const dialog = el(
      "dialog",
      { class: "st-dialog", "aria-label": question, oncancel: () => close(false) },
      el("p", {}, question),
      el("div", { class: "st-actions" }, refuse, agree),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A button with words on it. @param {string} text @param {Attributes<"button">} attributes */
export const button = (text, attributes) => el("button", { type: "button", class: "st-button", ...attributes }, text);

/**
 * A few words at the foot of the page that go by themselves; "away" stays until it is taken down, and is said once.
 * @param {Node | string} message
 * @param {"note" | "error" | "undo" | "away"} [kind]
 */
export function toast(message, kind = "note") {
  if (kind === "away" && document.querySelector(".st-toast-away")) return;
  const note = el("div", { class: `st-toast st-toast-${kind}` }, message);
  placeOfToasts().append(note);
  if (kind !== "away") setTimeout(() => note.remove(), kind === "note" ? 4000 : 9000);
}

function placeOfToasts() {
  const place = document.getElementById("st-toasts");
  if (place) return place;
  const toasts = el("div", { id: "st-toasts", role: "status", "aria-live": "polite" });
  document.body.append(toasts);
  return toasts;
}

/**
 * Do something that may fail; a failure is said in words, and null comes back.
 * @template Result
 * @param {() => Promise<Result> | Result} action
 * @returns {Promise<Result | null>}
 */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(wordsOf(error), "error");
    return null;
  }
}
