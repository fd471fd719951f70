// @ts-check
// In which order a run's downloads are offered.

/** @import { Download } from "../../types/api.js" */
/** @import { Facts } from "../../types/facts.js" */
/** @typedef {Pick<Facts, "weights" | "whole_kinds" | "lora_kinds">} Kinds */
/** @typedef {Pick<Download, "kind" | "weights" | "step" | "precision">} Offer */

/**
 * The kinds that `items` have: whole models first, then parts by themselves, then the forms of a LoRA; each in all
 * weights.
 * @param {Pick<Offer, "kind" | "weights">[]} items
 * @param {Kinds} facts
 */
export function rowsOf(items, { weights, whole_kinds: wholes, lora_kinds: loras }) {
  const kinds = [...new Set(items.filter((item) => item.weights).map((item) => item.kind))];
  const parts = kinds.filter((kind) => !wholes.includes(kind) && !loras.includes(kind));
  const forms = loras.filter((kind) => kinds.includes(kind));
  return [...wholes, ...parts, ...forms].flatMap((kind) => weights.map((one) => ({ kind, weights: one })));
}

/** The steps that there is something to take home of, the newest first.
 * @param {Pick<Offer, "weights" | "step">[]} items */
export function stepsOf(items) {
  const steps = new Set(items.filter((item) => item.weights).map((item) => item.step ?? 0));
  return [...steps].sort((a, b) => b - a);
}

/**
 * The download of a step that most people want: the whole model, else the LoRA; averaged weights, else raw ones.
 * @template {Offer} Item
 * @param {Item[]} items
 * @param {number | undefined} step
 * @param {string} precision
 * @param {Kinds} facts
 * @returns {Item | undefined}
 */
export function bestOf(items, step, precision, { weights, whole_kinds: wholes, lora_kinds: loras }) {
  const kinds = [wholes[0], loras[0]].flatMap((kind) => weights.map((one) => ({ kind, weights: one })));
  const offers = kinds.map((one) => offerOf(items, { ...one, step, precision }));
  return offers.find(Boolean);
}

/**
 * @template {Offer} Item
 * @param {Item[]} items
 * @param {{ kind: string, weights: string, step: number | undefined, precision: string }} wanted
 */
export function offerOf(items, { kind, weights, step, precision }) {
  return items.find(
    (item) => item.step === step && item.kind === kind && item.weights === weights && item.precision === precision,
  );
}
