// @ts-check
// What a run or a job is doing, in words, and for how many seconds: these are counted here, without asking.

import { studioTime } from "./clock.js";
import { bytes, duration, el, has, say, t, unit, whole } from "./kit.js";

/** @import { Attributes } from "./kit.js" */
/**
 * @typedef {object} Doing
 * @property {string} phase
 * @property {number | null} phase_done
 * @property {number | null} phase_total
 * @property {string | null} phase_unit
 * @property {number | null} phase_began
 * @property {number | null} phase_usual_seconds
 */

/** Its phase in words, with how much of it is done; "" where there are none. @param {Doing} work */
export function doing({ phase, phase_done: done, phase_total: total, phase_unit: counted }) {
  if (!has(`phase.${phase}`)) return "";
  const words = t(`phase.${phase}`);
  if (!total || phase === "training") return `${words} …`;
  const size = counted === "bytes" ? bytes : whole;
  const values = { phase: words, done: size(done ?? 0), total: size(total), unit: unit(counted) };
  return t("phase.counted", values).trim();
}

/** The seconds of the phase under way, no part of what a screen reader is told. */
export class Elapsed {
  /** @param {Attributes<"span">} [attributes] */
  constructor(attributes) {
    this.node = el("span", { class: "st-quiet st-elapsed", role: "timer", "aria-live": "off", ...attributes });
    /** @type {number | null} */
    this.began = null;
    /** @type {number | null} */
    this.usual = null;
    this.timer = 0;
  }

  /** Count from when this phase began. @param {Pick<Doing, "phase_began" | "phase_usual_seconds">} work */
  count({ phase_began: began, phase_usual_seconds: usual }) {
    this.began = began;
    this.usual = usual;
    clearTimeout(this.timer);
    this.tick();
    return this.node;
  }

  /** Count from now, until the studio says what it does. */
  countFromNow() {
    this.count({ phase_began: studioTime(), phase_usual_seconds: null });
  }

  /** Count nothing any more. */
  stop() {
    this.count({ phase_began: null, phase_usual_seconds: null });
  }

  tick() {
    const { began, usual } = this;
    if (began === null) {
      say(this.node, "");
      return;
    }
    const passed = Math.max(0, studioTime() - began);
    const time = duration(Math.floor(passed));
    if (!document.hidden) {
      say(this.node, usual ? t("phase.seconds_usual", { time, usual: duration(Math.max(1, usual)) }) : time);
    }
    this.timer = window.setTimeout(() => this.again(), 1000 - ((passed * 1000) % 1000));
  }

  /** As long as it is on the page. */
  again() {
    if (this.node.isConnected) this.tick();
  }
}
