// What a URL asks for, which settings a word finds, what dropped files hold, and what votes came to.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { test } from "node:test";

import { routeOf } from "../../studio/ui/static/kit/url.js";
import { outcome } from "../../studio/ui/static/play/tally.js";
import { presetOf, settingsOf } from "../../studio/ui/static/train/dropped.js";
import { foundBy } from "../../studio/ui/static/train/rank.js";

const PAGES = ["train", "runs", "datasets", "play", "trash"];

/** A weight file with this metadata, as safetensors has it. */
function weights(metadata, name = "lora.safetensors") {
  const head = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata }));
  const size = new DataView(new ArrayBuffer(8));
  size.setBigUint64(0, BigInt(head.length), true);
  return new File([size.buffer, head, new Uint8Array(100)], name);
}

test("the URL says which page shows", () => {
  const pages = ["", "?view=trash", "?view=nowhere", "?run=1&view=play", "?dataset=2", "?play=3&job=4"];
  const shown = pages.map((query) => routeOf(query, PAGES).page);
  assert.deepEqual(shown, ["train", "trash", "train", "runs", "datasets", "play"]);
  assert.deepEqual(routeOf("?run=1", PAGES), { page: "runs", run: "1", dataset: null, play: null });
});

test("a setting's own name comes before its path and its help", () => {
  const setting = (label, path, help, reference = null) => ({ label, path, help, reference });
  const settings = [
    setting("Seed", "train.seed", "Where rate is not meant"),
    setting("Schedule", "optim.lr_rate", "", "--rate"),
    setting("Learning Rate", "optim.lr", ""),
    setting("Other", "x.y", ""),
  ];
  assert.deepEqual(foundBy(settings, "rate", 8).map(({ label }) => label), ["Learning Rate", "Schedule", "Seed"]);
  assert.equal(foundBy(settings, "rate", 2).length, 2);
  assert.deepEqual(foundBy(settings, "nothing", 8), []);
});

test("settings are read from JSON and from a weight file's header", async () => {
  assert.equal(await settingsOf(new File(['{"a": 1}'], "x.JSON"), "key"), '{"a": 1}');
  assert.equal(await settingsOf(weights({ key: "{}" }), "key"), "{}");
  assert.equal(await settingsOf(weights({ other: "{}" }), "key"), null);
  assert.equal(await settingsOf(new File(["x"], "picture.png"), "key"), null);
});

test("a header that claims to be huge is not read", async () => {
  const size = new DataView(new ArrayBuffer(8));
  size.setBigUint64(0, 1n << 60n, true);
  assert.equal(await settingsOf(new File([size.buffer], "bomb.safetensors"), "key"), null);
});

test("only a preset's file is a preset", () => {
  assert.deepEqual(presetOf('{"studio_preset": 1, "name": "n", "config": {}}'), { name: "n", config: {} });
  assert.equal(presetOf('{"train": {}}'), null);
  assert.equal(presetOf("3"), null);
  assert.equal(presetOf("no json"), null);
});

test("the column that won more often comes first, with its own share and bounds", () => {
  const tally = { columns: [0, 1], wins: [1, 3], share: 0.25, low: 0.05, high: 0.6 };
  assert.deepEqual(outcome(tally), { better: 1, worse: 0, won: 3, votes: 4, share: 0.75, low: 0.4, high: 0.95 });
  const tied = outcome({ ...tally, wins: [0, 0], share: null });
  assert.deepEqual([tied.better, tied.votes, tied.share], [0, 0, null]);
});
