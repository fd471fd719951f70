// Numbers, sizes, times and texts as the pages write them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { filled, formats } from "../../studio/ui/static/kit/format.js";

const words = {
  "app.never": "–",
  "time.seconds": "{s} s",
  "time.minutes": "{m} min {s} s",
  "time.hours": "{h} h {m} min",
};
const english = formats((key, values = {}) => filled(words[key], values), "en-GB");
const german = formats((key, values = {}) => filled(words[key], values), "de");

test("a text takes its values as they are, whatever they hold", () => {
  assert.equal(filled("{name} of {total}", { name: "$& {total} $1", total: 3 }), "$& {total} $1 of 3");
  assert.equal(filled("{unknown} stays", {}), "{unknown} stays");
});

test("sizes have at most one digit behind the point, and only small ones", () => {
  const sizes = [0, 999, 1000, 9949, 12_345_678, 2.5e15].map(english.bytes);
  assert.deepEqual(sizes, ["0 B", "999 B", "1 kB", "9.9 kB", "12 MB", "2,500 TB"]);
  assert.equal(german.bytes(1500), "1,5 kB");
});

test("spans of time are in the two largest units", () => {
  const spans = [0.4, 59.4, 61, 3599, 3600, 90_061].map(english.duration);
  assert.deepEqual(spans, ["0 s", "59 s", "1 min 01 s", "59 min 59 s", "1 h 00 min", "25 h 01 min"]);
  assert.deepEqual([english.duration(null), english.duration(undefined)], ["–", "–"]);
});

test("measured numbers are short at every size", () => {
  const numbers = [0, 0.123456, 1234.56, 1e-4, -0.00012345, 1.5e6].map((value) => english.number(value));
  assert.deepEqual(numbers, ["0", "0.1235", "1,235", "1e-4", "-1.23e-4", "1.5e6"]);
  assert.deepEqual([english.number(NaN), english.number(null)], ["–", "–"]);
  assert.equal(english.number(2.718, 2), "2.7");
});

test("an hour of today stands alone, another day with its date", () => {
  assert.match(english.when(Date.now() / 1000), /^\d\d:\d\d$/);
  assert.match(english.when(86_400 * 365), /1 Jan/);
  assert.equal(english.when(0), "–");
});
