// Small things every page's script uses: words, elements, numbers, and calls to the studio.

const table = document.getElementById("studio-texts");
const words = JSON.parse(table.textContent);
/** The page's language, and the browser's own kind of it (en-GB) where it has one: for dates and numbers. */
const { language } = table.dataset;
const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? language;
document.documentElement.lang = language;

/** A text of the table with its values put in. */
export function t(key, values = {}) {
  let text = words[key] ?? key;
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`{${name}}`, String(value));
  return text;
}

/** Whether the table has this text. */
export const has = (key) => key in words;

const HUB = "https://huggingface.co/";

/** Whether a page may lead to, or fetch a picture from, an address that may come from somebody's data: one of the studio's
 *  own, what the browser itself holds, or a page of the Hub. */
function permitted(name, value) {
  let url;
  try { url = new URL(value, document.baseURI); } catch { return false; }
  if (url.protocol === "data:") return /^data:image\/(png|jpeg|webp|gif)[;,]/.test(url.href);
  return url.origin === location.origin || (name === "href" && url.href.startsWith(HUB));
}

/** An element. Text children become text nodes: nothing a person wrote is ever parsed as HTML. An address that is not
 *  permitted is left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if ((name === "href" || name === "src") && !permitted(name, value)) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Set an element's text only when it changes, so that a screen reader is not told the same twice. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class ApiError extends Error {
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

/** The address of something under /api, also when the studio lies below another path; null for one that leads out of it. */
export function address(path) {
  const api = new URL("api/", document.baseURI).href;
  const { href } = new URL(String(path).replace(/^\//, ""), document.baseURI);
  return href.startsWith(api) ? href : null;
}

/** Call the studio. Resolves to {data, tag}; data is null when nothing changed since `tag`. Rejects with ApiError. */
export async function call(path, { method = "GET", body, tag } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag) headers["If-None-Match"] = tag;
  const place = address(`api/${path}`);
  if (!place) throw new ApiError(404, t("app.not_found"));
  const answer = await fetch(place, {
    method, headers, cache: "no-store", credentials: "same-origin",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 304) return { data: null, tag };
  const text = await answer.text();
  if (!answer.ok) throw fault(answer.status, text);
  return { data: text ? JSON.parse(text) : {}, tag: answer.headers.get("ETag") };
}

/** What an unhappy answer says, in words. */
export function fault(status, text) {
  let said = null;
  try { said = JSON.parse(text).error; } catch { said = null; }
  if (status === 401) return new ApiError(status, t("app.unauthorized"));
  if (said?.message) return new ApiError(status, said.message, said.hint, said.problems);
  return new ApiError(status, status === 404 ? t("app.not_found") : t("app.failed", { status }));
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) { count /= 1000; at += 1; }
  return `${count.toLocaleString(locale, { maximumFractionDigits: count < 10 && at ? 1 : 0 })} ${units[at]}`;
}

/** What a phase counts, in words; bytes bring their own unit. */
export const unit = (name) => (has(`unit.${name}`) ? t(`unit.${name}`) : "");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return t("app.never");
  const s = Math.max(0, Math.round(seconds));
  const two = (n) => String(n % 60).padStart(2, "0");
  if (s < 60) return t("time.seconds", { s });
  if (s < 3600) return t("time.minutes", { m: Math.floor(s / 60), s: two(s) });
  return t("time.hours", { h: Math.floor(s / 3600), m: two(Math.floor(s / 60)) });
}

/** "a, b and c", as it is written in the page's language. */
export const listed = (names) => new Intl.ListFormat(locale).format(names);

// Made once: the browser takes longer to make one than to write a hundred numbers with it.
const plain = new Intl.NumberFormat(locale);
const digits = {};
const significant = (count) => (digits[count] ??= new Intl.NumberFormat(locale, { maximumSignificantDigits: count }));

export function number(value, count = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return t("app.never");
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return significant(count).format(value);
}

export const whole = (value) => plain.format(value ?? 0);

export function when(seconds) {
  if (!seconds) return t("app.never");
  const date = new Date(seconds * 1000);
  const today = new Date().toDateString() === date.toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  return today ? date.toLocaleTimeString(locale, time)
    : date.toLocaleString(locale, { day: "numeric", month: "short", ...time });
}

/** Ask before something that cannot be taken back. Resolves to whether the person agreed. */
export function confirm(question, yes, no) {
  return new Promise((resolve) => {
    const close = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    const dialog = el("dialog", { class: "st-dialog", "aria-label": question, oncancel: () => close(false) },
      el("p", {}, question),
      el("div", { class: "st-actions" },
        el("button", { type: "button", class: "st-button", onclick: () => close(false) }, no),
        el("button", { type: "button", class: "st-button st-danger", id: "confirm-yes", onclick: () => close(true) }, yes)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A few words at the foot of the page that go by themselves; "away" stays until it is taken down, and is said once. */
export function toast(message, kind = "note") {
  if (kind === "away" && document.querySelector(".st-toast-away")) return;
  let place = document.getElementById("st-toasts");
  if (!place) document.body.append(place = el("div", { id: "st-toasts", role: "status", "aria-live": "polite" }));
  const note = el("div", { class: `st-toast st-toast-${kind}` }, message);
  place.append(note);
  if (kind !== "away") setTimeout(() => note.remove(), kind === "note" ? 4000 : 9000);
}

/** Do something that may fail; a failure is said in words. */
export async function attempt(action) {
  try { return await action(); } catch (error) {
    toast(error instanceof ApiError ? error.words : t("app.reconnecting"), "error");
    return null;
  }
}
