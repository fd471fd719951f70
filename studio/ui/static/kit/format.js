// @ts-check
// Numbers, sizes, times and dates as a language writes them.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * A text with its values put in where it has {their names}; what a value holds is not looked at again.
 * @param {string} text
 * @param {Record<string, unknown>} values
 */
export const filled = (text, values) =>
  text.replace(/\{(\w+)\}/g, (mark, name) => (name in values ? String(values[name]) : mark));

/**
 * The formats of a `locale` (en-GB), in the words of `t`.
 * @param {import("./kit.js").Translate} t
 * @param {string} locale
 */
export function formats(t, locale) {
  // Made once: the browser takes longer to make one than to write a hundred numbers with it.
  const plain = new Intl.NumberFormat(locale);
  /** @type {Record<number, Intl.NumberFormat>} */
  const bySignificantDigits = {};

  /** @param {number} digits */
  function significant(digits) {
    bySignificantDigits[digits] ??= new Intl.NumberFormat(locale, { maximumSignificantDigits: digits });
    return bySignificantDigits[digits];
  }

  /** A size in bytes. @param {number} count */
  function bytes(count) {
    let size = count;
    let unit = 0;
    while (size >= 1000 && unit < UNITS.length - 1) {
      size /= 1000;
      unit += 1;
    }
    const maximumFractionDigits = size < 10 && unit > 0 ? 1 : 0;
    return `${size.toLocaleString(locale, { maximumFractionDigits })} ${UNITS[unit]}`;
  }

  /** A time span in seconds. @param {number | null} [seconds] */
  function duration(seconds) {
    if (seconds === null || seconds === undefined) return t("app.never");
    const s = Math.max(0, Math.round(seconds));
    const minutes = Math.floor(s / 60);
    if (s < 60) return t("time.seconds", { s });
    if (s < 3600) return t("time.minutes", { m: minutes, s: twoDigits(s) });
    return t("time.hours", { h: Math.floor(s / 3600), m: twoDigits(minutes) });
  }

  /** A measured number, in significant `digits`. @param {number | null} [value] */
  function number(value, digits = 4) {
    if (value === null || value === undefined || !Number.isFinite(value)) return t("app.never");
    if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return exponential(value);
    return significant(digits).format(value);
  }

  /** A whole number. @param {number | null} [value] */
  function whole(value) {
    return plain.format(value ?? 0);
  }

  /** A moment, given in seconds since 1970: the hour of today, else day and hour. @param {number | null} [seconds] */
  function when(seconds) {
    if (!seconds) return t("app.never");
    const date = new Date(seconds * 1000);
    /** @type {Intl.DateTimeFormatOptions} */
    const hour = { hour: "2-digit", minute: "2-digit" };
    if (new Date().toDateString() === date.toDateString()) return date.toLocaleTimeString(locale, hour);
    return date.toLocaleString(locale, { day: "numeric", month: "short", ...hour });
  }

  /** Names as a sentence lists them: "a, b and c". @param {string[]} names */
  function listed(names) {
    return new Intl.ListFormat(locale).format(names);
  }

  return { bytes, duration, listed, number, whole, when };
}

/** The minutes or seconds of an hour or a minute, such as 05. @param {number} count */
const twoDigits = (count) => String(count % 60).padStart(2, "0");

/** Such as 1.5e-4. @param {number} value */
function exponential(value) {
  const [mantissa, exponent] = value.toExponential(2).split("e");
  return `${mantissa.replace(/\.?0+$/, "")}e${exponent.replace("+", "")}`;
}
