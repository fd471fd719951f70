/** What a page's scripts share with Gradio and with one another: the bridge, globals, and events of their own. */

import type { Aim } from "../static/datasets/aim.js";
import type { Config, Picture } from "./api.js";

/** What Gradio hands to a part of the page: the value its handlers set, and the events they hear. */
export interface Bridge<Value> {
  value(): Value | null | undefined;
  watch(then: () => void): void;
  send(event: string, data: object): void;
}

/** What was typed into the form: `train/draft.js`. */
export interface Draft {
  keep(names: string[], typed: unknown[]): void;
  kept(): Record<string, unknown>;
  recall(names: string[], defaults: unknown[]): unknown[];
  forget(): void;
}

declare global {
  interface Window {
    studioStarted?: boolean;
    studioDraft: Draft;
  }

  interface WindowEventMap {
    "studio:use-dataset": CustomEvent<string>;
    "studio:use-config": CustomEvent<{ config: Config; field: string | null }>;
  }
}

/** What the parts of a data set's page ask of it. */
export interface SetPage {
  id: string;
  aim: Aim;
  /** Something in the data set of this id changed: the page's own, or a copy of the shipped one. */
  changed(id: string): void;
  /** A job was started. */
  watch(): void;
  /** Look at a picture. */
  open(picture: Picture): void;
  /** The pictures that are looked for. */
  q(): string;
  search(q: string): void;
}
