// A run's settings and the changes to them, its samples as rows, and its downloads.

import assert from "node:assert/strict";
import { test } from "node:test";

import { bestOf, offerOf, rowsOf as kindsOf, stepsOf } from "../../studio/ui/static/downloads/offers.js";
import { quoted } from "../../studio/ui/static/runs/command.js";
import { changesTo, linesOf, overlaid, settingAt, withSetting } from "../../studio/ui/static/runs/settings.js";
import { rowsOf, tellingOf } from "../../studio/ui/static/samples/rows.js";

const config = { train: { max_steps: 100, seed: 1 }, sample: { prompts: ["a", "b"] } };
const facts = { weights: ["ema", "raw"], whole_kinds: ["pipeline", "single"], lora_kinds: ["lora", "lora-kohya"] };
const offer = (kind, weights, step = 1, precision = "fp32") => ({ kind, weights, step, precision });

test("only what was changed is sent", () => {
  const values = [["train.max_steps", 100], ["sample.prompts", ["a", "c"]], ["sample.every_steps", null]];
  assert.deepEqual(changesTo(config, values), { sample: { prompts: ["a", "c"] } });
  assert.deepEqual(changesTo(config, [["train.max_steps", null]]), { train: { max_steps: null } });
});

test("a config is not changed by what is made of it", () => {
  const changed = withSetting(config, "train.seed", 2);
  assert.deepEqual(changed.train, { max_steps: 100, seed: 2 });
  assert.deepEqual(overlaid(config, { train: { seed: 3 }, ema: { enabled: true } }).train, { max_steps: 100, seed: 3 });
  assert.equal(settingAt(config, "train.seed"), 1);
  assert.equal(settingAt(config, "nowhere.seed"), undefined);
});

test("prompts are the lines with words", () => {
  assert.deepEqual(linesOf(" a fox \n\n  \nb"), ["a fox", "b"]);
});

test("a command's words are quoted where a shell would take them apart", () => {
  assert.equal(quoted("studio.train"), "studio.train");
  assert.equal(quoted("it's $HOME"), `'it'\\''s $HOME'`);
  assert.equal(quoted(""), "''");
});

test("samples are rows by prompt in the weights chosen; those before training are in both", () => {
  const sample = (prompt_index, step, weights) => ({ prompt_index, prompt: `p${prompt_index}`, step, weights });
  const samples = [
    sample(0, 100, "raw"), sample(0, 0, "raw"), sample(0, 100, "ema"), sample(1, 50, "ema"), sample(0, 0, "ema"),
  ];
  const rows = rowsOf(samples, "ema");
  assert.deepEqual(rows.map((row) => row.map(({ step }) => step)), [[0, 100], [50]]);
  assert.ok(rows.flat().every(({ weights }) => weights === "ema"));
  assert.deepEqual(rowsOf([sample(0, 0, "raw")], "ema").length, 1);
});

test("of each prompt a copy says most, then the newest step, then the nearest", () => {
  const compared = (prompt, copy, step, distance) => ({ prompt, copy, step, distance });
  const telling = tellingOf([
    compared("a", false, 9, 1), compared("a", true, 1, 8), compared("b", false, 2, 5), compared("b", false, 2, 3),
    compared("b", false, 1, 1),
  ]);
  assert.deepEqual(telling, [compared("a", true, 1, 8), compared("b", false, 2, 3)]);
});

test("whole models are offered first, then parts, then the forms of a LoRA, each in all weights", () => {
  const items = [offer("lora-kohya", "ema"), offer("unet", "ema"), offer("lora", "raw"), offer("config", "", null)];
  const kinds = kindsOf(items, facts).map(({ kind, weights }) => `${kind} ${weights}`);
  assert.deepEqual(kinds.filter((kind) => kind.endsWith("ema")), [
    "pipeline ema", "single ema", "unet ema", "lora ema", "lora-kohya ema",
  ]);
  assert.equal(kinds.length, 10);
});

test("the best download is the newest whole model in averaged weights, in the precision chosen", () => {
  const items = [offer("lora", "ema", 2), offer("pipeline", "raw", 2), offer("pipeline", "ema", 2, "fp16")];
  assert.deepEqual(stepsOf([...items, offer("unet", "ema", 10), offer("config", "", null)]), [10, 2]);
  assert.equal(bestOf(items, 2, "fp32", facts), items[1]);
  assert.equal(bestOf(items, 2, "fp16", facts), items[2]);
  assert.equal(bestOf(items, undefined, "fp32", facts), undefined);
  assert.equal(offerOf(items, offer("lora", "ema", 2)), items[0]);
});
