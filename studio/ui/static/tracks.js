// The runs whose curves a chart shows: the page's own, and up to five beside it.

import { attempt, call } from "./kit.js";
import { Curve, columns } from "./columns.js";

const POINTS = 1000;
const REFRESH = 5000;
export const MOST = 6;
export const VALIDATION = { raw: [2, 3], ema: [9, 4] };
export const DASHES = [[], [9, 4], [2, 3], [12, 3, 2, 3], [5, 5], [1, 4]];

export class Track {
  constructor(id, name = "") {
    Object.assign(this, { id, name, curve: new Curve(), tag: null, asked: 0 });
  }

  /** The whole curve, down-sampled; resolves to the event from which on to follow. */
  async load() {
    const { data, tag } = await this.series("", this.tag);
    this.asked = Date.now();
    this.tag = tag;
    if (data) this.curve.load(columns(data), data.validation ?? {});
    return data?.seq;
  }

  /** True detail between two steps. */
  async zoom(range) {
    const { data } = await this.series(`&from=${Math.max(0, Math.floor(range.min))}&to=${Math.max(0, Math.ceil(range.max))}`);
    if (this.curve.range === range) this.curve.detail = columns(data);
  }

  series(range, tag) {
    return call(`runs/${this.id}/series?keys=loss,lr,grad_norm,validation&points=${POINTS}${range}`, { tag });
  }
}

/** The runs beside the page's own; the URL names them, so that a reload shows the same. */
export class Others {
  constructor(own) {
    this.own = own;
    this.tracks = [];
  }

  get ids() {
    return this.tracks.map((track) => track.id);
  }

  /** Show exactly these runs ({id, name}); a run that is gone is left out. */
  async choose(runs) {
    const known = new Map(this.tracks.map((track) => [track.id, track]));
    const wanted = runs.filter((run) => run.id !== this.own).slice(0, MOST - 1);
    const found = await Promise.all(wanted.map(async ({ id, name }) => {
      const track = known.get(id) ?? new Track(id, name);
      if (!known.has(id) && !(await attempt(async () => { await track.load(); return true; }))) return null;
      return track;
    }));
    this.tracks = found.filter(Boolean);
  }

  /** Ask for their news now and then; resolves to whether there was any. */
  async refresh() {
    const due = this.tracks.filter((track) => Date.now() - track.asked > REFRESH);
    const news = await Promise.all(due.map((track) => track.load()));
    return news.some((seq) => seq !== undefined);
  }
}
