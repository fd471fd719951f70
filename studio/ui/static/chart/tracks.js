// @ts-check
// The runs whose curves a chart shows: the page's own, and up to five beside it.

import { attempt, call } from "../kit/kit.js";
import { Curve, columns } from "./columns.js";

/** @import { Weights } from "../../types/api.js" */
/** @import { Range } from "./columns.js" */
/** @typedef {{ id: string, name: string }} Named */

const POINTS = 1000;
const REFRESH = 5000; // milliseconds
export const MOST = 6;
/** @type {Record<Weights, number[]>} */
export const VALIDATION = { raw: [2, 3], ema: [9, 4] };
export const DASHES = [[], [9, 4], [2, 3], [12, 3, 2, 3], [5, 5], [1, 4]];

export class Track {
  /** @param {string} id @param {string} [name] */
  constructor(id, name = "") {
    this.id = id;
    this.name = name;
    this.curve = new Curve();
    /** @type {string | null} */
    this.tag = null;
    this.asked = 0;
  }

  /** The whole curve, down-sampled; resolves to the event from which on to follow, null where nothing is new. */
  async load() {
    const { data, tag } = await call(this.path(""), { tag: this.tag });
    this.asked = Date.now();
    this.tag = tag;
    if (!data) return null;
    this.curve.load(columns(data), data.validation ?? {});
    return data.seq;
  }

  /** True detail between two steps. @param {Range} range */
  async zoom(range) {
    const from = Math.max(0, Math.floor(range.min));
    const to = Math.max(0, Math.ceil(range.max));
    const { data } = await call(this.path(`&from=${from}&to=${to}`));
    if (this.curve.range === range) this.curve.detail = columns(data);
  }

  /** @param {string} range @returns {`runs/${string}/series?${string}`} */
  path(range) {
    return `runs/${this.id}/series?keys=loss,lr,grad_norm,validation&points=${POINTS}${range}`;
  }
}

/** The runs beside the page's own; the URL names them, so that a reload shows the same. */
export class Others {
  /** @param {string} run the id of the page's own */
  constructor(run) {
    this.run = run;
    /** @type {Track[]} */
    this.tracks = [];
  }

  get ids() {
    return this.tracks.map((track) => track.id);
  }

  /** Show exactly these runs; a run that is gone is left out. @param {Named[]} runs */
  async choose(runs) {
    const others = runs.filter((run) => run.id !== this.run).slice(0, MOST - 1);
    const tracks = await Promise.all(others.map((run) => this.track(run)));
    this.tracks = tracks.filter((track) => track !== null);
  }

  /** The track of a run, loaded where it is a new one; null where it cannot be. @param {Named} run */
  async track({ id, name }) {
    const known = this.tracks.find((track) => track.id === id);
    if (known) return known;
    const track = new Track(id, name);
    return attempt(async () => {
      await track.load();
      return track;
    });
  }

  /** Ask for their news now and then; resolves to whether there was any. */
  async refresh() {
    const due = this.tracks.filter((track) => Date.now() - track.asked > REFRESH);
    const news = await Promise.all(due.map((track) => track.load()));
    return news.some((seq) => seq !== null);
  }
}
