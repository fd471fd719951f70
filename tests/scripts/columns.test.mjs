// The curves of a run as columns: smoothing, reading, room around them, and following a run that goes back.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Curve, columns, extent, nearest, positive, smooth } from "../../studio/ui/static/chart/columns.js";

const step = (step, loss) => ({ step, loss, lr: 1e-4 });

test("smoothing begins without bias and leaves gaps", () => {
  assert.deepEqual(smooth([4, null, 4], 0.9), [4, null, 4]);
  assert.deepEqual(smooth([1, 3], 0), [1, 3]);
  const [first, second] = smooth([0, 1], 0.5);
  assert.equal(first, 0);
  assert.ok(Math.abs(second - 2 / 3) < 1e-12);
});

test("the nearest step is found, the earlier of two as near", () => {
  const steps = [10, 20, 40];
  assert.deepEqual([0, 14, 15, 16, 30, 31, 99].map((at) => nearest(steps, at)), [0, 0, 0, 1, 1, 2, 2]);
  assert.equal(nearest([], 5), -1);
});

test("a logarithm has no place for what is not above zero", () => {
  assert.deepEqual(positive([1, 0, -1, null]), [1, null, null, null]);
  assert.deepEqual(extent([0, -1], false, true), [0.1, 1]);
});

test("clipping leaves an outlier outside, and room stays around the rest", () => {
  const values = [...Array.from({ length: 200 }, () => 1), 1000];
  assert.ok(extent(values, false, false)[1] > 1000);
  const [low, high] = extent(values, true, false);
  assert.ok(low < 1 && high > 1 && high < 2);
  assert.deepEqual(extent([], true, false), [0, 1]);
});

test("a series becomes columns of its own", () => {
  const series = {
    step: [1, 2],
    loss: { mean: [3, 2], min: [2, 1], max: [4, 3] },
    lr: { mean: [0.1, 0.1] },
    grad_norm: { mean: [null, 1] },
  };
  const table = columns(series);
  table.step.push(3);
  assert.deepEqual(series.step, [1, 2]);
  assert.deepEqual([table.low, table.high], [[2, 1], [4, 3]]);
});

test("a run that goes back replaces the steps it makes again", () => {
  const curve = new Curve();
  curve.append([step(1, 9), step(2, 8), step(3, 7)]);
  curve.validate([{ step: 3, loss: 5, weights: "ema" }]);
  curve.append([step(2, 6)]);
  assert.deepEqual(curve.base.step, [1, 2]);
  assert.deepEqual(curve.base.loss, [9, 6]);
  assert.deepEqual(curve.validation.ema.step, []);
  assert.equal(curve.last, 2);
});

test("a zoomed part takes only the points inside it, and is read only where it reaches", () => {
  const curve = new Curve();
  curve.append([step(1, 1), step(2, 2), step(9, 9)]);
  curve.range = { min: 1, max: 3 };
  curve.detail = { step: [1, 2], loss: [1, 2], low: [], high: [], lr: [], grad_norm: [] };
  curve.append([step(10, 10)]);
  assert.deepEqual(curve.detail.step, [1, 2]);
  assert.equal(curve.at(2), curve.detail);
  assert.equal(curve.at(9), curve.base);
});
