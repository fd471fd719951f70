// The scripts are written to be read: checked by types, short of lines, functions, files and folders, one statement a
// line, no choice within a choice; and what a person wrote never becomes HTML.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import ts from "typescript";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const STATIC = join(ROOT, "studio", "ui", "static");
const COLUMNS = 120;
const LINES_OF_A_FILE = 400;
const LINES_OF_A_FUNCTION = 60;
const FILES_OF_A_FOLDER = 15;
const AS_HTML = ["innerHTML", "outerHTML", "insertAdjacentHTML", "parseFromString", "srcdoc"];

/** Every file below a folder but those that others wrote. */
function filesBelow(folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => name !== "vendor");
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

const own = [STATIC, join(ROOT, "studio", "ui", "types"), join(ROOT, "tests", "scripts")].flatMap(filesBelow);
const files = own.filter((path) => /\.(js|mjs|ts|css)$/.test(path));
const scripts = files.filter((path) => path.startsWith(STATIC) && path.endsWith(".js"));

const parse = (path, text) => ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
const lineOf = (node, at) => node.getSourceFile().getLineAndCharacterOfPosition(at).line + 1;

/** Every node of a tree. */
function* nodesOf(node) {
  yield node;
  for (const child of node.getChildren()) yield* nodesOf(child);
}

const trees = scripts.map((path) => parse(path, readFileSync(path, "utf8")));

/** The nodes of trees that a fault is seen in, each as path:line. */
function faults(isFault, of = trees) {
  const bad = of.flatMap((tree) => [...nodesOf(tree)].filter(isFault));
  return bad.map((node) => `${relative(ROOT, node.getSourceFile().fileName)}:${lineOf(node, node.getStart())}`);
}

/** Whether a choice is part of another, with no function between them. */
function isNestedChoice(node) {
  if (!ts.isConditionalExpression(node)) return false;
  let around = node.parent;
  while (around && !ts.isFunctionLike(around) && !ts.isConditionalExpression(around)) around = around.parent;
  return Boolean(around) && ts.isConditionalExpression(around);
}

/** Whether a statement begins on the line on which the one before it ends. */
function isJoined(node) {
  const siblings = node.parent?.statements;
  const place = siblings?.indexOf(node) ?? -1;
  return place > 0 && lineOf(node, siblings[place - 1].getEnd()) === lineOf(node, node.getStart());
}

const isLong = (node) =>
  ts.isFunctionLike(node) && lineOf(node, node.getEnd()) - lineOf(node, node.getStart()) >= LINES_OF_A_FUNCTION;

/** Whether a text may become HTML here. */
function takesHtml(node) {
  if (!ts.isPropertyAccessExpression(node)) return false;
  return AS_HTML.includes(node.name.text) || /^document\.write/.test(node.getText());
}

test("there are scripts to look at", () => {
  assert.ok(scripts.length > 50 && files.length > scripts.length);
});

test("no choice is within another", () => {
  assert.deepEqual(faults(isNestedChoice), []);
});

test("no two statements are on a line", () => {
  assert.deepEqual(faults(isJoined), []);
});

test("no function is too long to be read at once", () => {
  assert.deepEqual(faults(isLong), []);
});

test("no text becomes HTML", () => {
  assert.deepEqual(faults(takesHtml), []);
});

test("every script is checked by its types, and says what it is", () => {
  const bare = scripts.filter((path) => !/^\/\/ @ts-check\n\/\/ \S/.test(readFileSync(path, "utf8")));
  assert.deepEqual(bare, []);
  const unchecked = scripts.filter((path) => /@ts-(ignore|nocheck|expect-error)/.test(readFileSync(path, "utf8")));
  assert.deepEqual(unchecked, []);
});

test("lines, files and folders are short", () => {
  const long = files.flatMap((path) => {
    const lines = readFileSync(path, "utf8").split("\n");
    const wide = lines.flatMap((line, at) => (line.length > COLUMNS ? [`${relative(ROOT, path)}:${at + 1}`] : []));
    return lines.length > LINES_OF_A_FILE + 1 ? [...wide, relative(ROOT, path)] : wide;
  });
  assert.deepEqual(long, []);
  const counts = new Map();
  for (const path of own) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
  const full = [...counts].filter(([, count]) => count > FILES_OF_A_FOLDER);
  assert.deepEqual(full, []);
});

test("these looks find what they look for", () => {
  const text = [
    "const a = b ? c : d ? 1 : 2;",
    "f(); g();",
    "node.innerHTML = x;",
    `function long() {${"\n  f();".repeat(LINES_OF_A_FUNCTION)}\n}`,
  ].join("\n");
  const tree = parse(join(STATIC, "x.js"), text);
  const linesWith = (isFault) => faults(isFault, [tree]).map((at) => at.split(":")[1]);
  assert.deepEqual(linesWith(isNestedChoice), ["1"]);
  assert.deepEqual(linesWith(isJoined), ["2"]);
  assert.deepEqual(linesWith(takesHtml), ["3"]);
  assert.deepEqual(linesWith(isLong), ["4"]);
});
