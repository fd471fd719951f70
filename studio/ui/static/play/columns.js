// @ts-check
// The columns of a drawing: what each is called, and the files of its pictures.

import { number, t, whole } from "../kit/kit.js";

/** @import { Column, DrawingArgs, Drawn } from "../../types/api.js" */

/** What a column of a drawing is called. @param {Column} column */
export function columnName({ checkpoint, weights, scale }) {
  if (!checkpoint) return t("play.base_short");
  const words = { step: whole(stepOf(checkpoint)), weights: t(`samples.${weights}`) };
  if (scale === 1) return t("play.column_is", words);
  return t("play.column_scaled", { ...words, scale: number(scale) });
}

/** The step in a checkpoint's name. @param {string} checkpoint */
const stepOf = (checkpoint) => Number(checkpoint.split("-").pop());

/** The name a picture is downloaded by. @param {DrawingArgs} args @param {Drawn} drawn */
export function fileOf(args, { column, prompt, seed }) {
  const { checkpoint, weights, scale } = args.columns[column];
  const parts = [checkpoint ?? "base", weights ?? null];
  if (checkpoint && scale !== 1) parts.push(String(scale));
  parts.push(`prompt-${prompt + 1}`, `seed-${seed}`);
  return `${parts.filter((part) => part !== null).join("_")}.png`;
}
