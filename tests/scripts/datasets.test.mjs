// Files on their way to a data set, squares in its pictures, and the keyboard's way over them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { byKey, centre, inside } from "../../studio/ui/static/datasets/square.js";
import { columnsIn, stepBy } from "../../studio/ui/static/datasets/walking.js";
import { batches, missing, nameFor, sizeOf, visible } from "../../studio/ui/static/imports/batches.js";

const entry = (path, size = 1) => [path, { name: path.split("/").pop(), size }];

test("batches hold at most 200 files and 64 MB, and nothing is lost between them", () => {
  const many = Array.from({ length: 401 }, (_, i) => entry(`${i}.png`));
  assert.deepEqual(batches(many).map((part) => part.length), [200, 200, 1]);
  assert.deepEqual(batches(many).flat(), many);
  const large = [entry("a.zip", 60e6), entry("b.zip", 10e6), entry("c.zip", 50e6), entry("d.zip", 90e6)];
  assert.deepEqual(batches(large).map(sizeOf), [60e6, 60e6, 90e6]);
  assert.deepEqual(batches([]), [[]]);
});

test("files that systems hide are not sent", () => {
  const all = [entry("a/.DS_Store"), entry("__MACOSX/x.png"), entry("a/x.png"), entry(".hidden")];
  assert.deepEqual(visible(all).map(([path]) => path), ["a/x.png"]);
});

test("what has arrived is not sent again, though the studio wrote its name otherwise", () => {
  const files = [entry("set/äö 1.png", 5), entry("set/2.png", 5)];
  assert.deepEqual(missing(files, [{ name: "set_äö_1.png", bytes: 5 }]), [files[1]]);
  assert.deepEqual(missing(files, [{ name: "set/2.png", bytes: 6 }]), files);
});

test("a data set is called after the folder that all its files are in, or its only file", () => {
  assert.equal(nameFor([entry("foxes/a.png"), entry("foxes/b/c.png")]), "foxes");
  assert.equal(nameFor([entry("foxes/a.png"), entry("cats/b.png")]), "");
  assert.equal(nameFor([entry("foxes.tar.gz")]), "foxes");
});

test("a square stays inside its picture, and is as small as allowed at most", () => {
  const size = { width: 100, height: 60 };
  assert.deepEqual(centre(size), [20, 0, 60]);
  assert.deepEqual(inside([-5, 50, 30], size, 16), [0, 30, 30]);
  assert.deepEqual(inside([95, 0, 30], size, 16), [70, 0, 30]);
  assert.deepEqual(inside([10.4, 10.6, 2], size, 16), [10, 11, 16]);
  assert.deepEqual(inside([0, 0, 500], { width: 8, height: 9 }, 16), [0, 0, 8]);
});

test("keys move and size a square", () => {
  const size = { width: 100, height: 60 };
  assert.deepEqual(byKey("ArrowLeft", [10, 10, 20], 3, size), [7, 10, 20]);
  assert.deepEqual(byKey("+", [10, 10, 20], 3, size), [7, 7, 26]);
  assert.deepEqual(byKey("Home", [10, 10, 20], 3, size), [20, 0, 60]);
  assert.equal(byKey("x", [10, 10, 20], 3, size), undefined);
});

test("arrows walk over rows and pages", () => {
  assert.equal(columnsIn([0, 0, 0, 50, 50]), 3);
  assert.equal(columnsIn([]), 1);
  assert.deepEqual(stepBy("ArrowRight", 4, 3, 50), { at: 5 });
  assert.deepEqual(stepBy("ArrowDown", 48, 3, 50), { page: 1, at: 0 });
  assert.deepEqual(stepBy("ArrowRight", 49, 3, 50), { page: 1, at: 0 });
  assert.deepEqual(stepBy("ArrowUp", 1, 3, 50), { page: -1, at: -1 });
  assert.deepEqual(stepBy("End", 1, 3, 50), { at: 49 });
  assert.equal(stepBy("Enter", 1, 3, 50), undefined);
});
