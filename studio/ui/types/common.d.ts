/** What several answers of the API have in common. */

export type Method = "GET" | "POST" | "PATCH" | "DELETE";
export type Weights = "ema" | "raw";
export type State =
  | "queued"
  | "starting"
  | "running"
  | "stopping"
  | "paused"
  | "interrupted"
  | "finished"
  | "stopped"
  | "cancelled"
  | "failed"
  | "diverged";

/** One fault of a config; `field` is a setting's path, or empty. */
export interface Problem {
  field: string;
  message: string;
}

export interface Fault {
  code: string;
  message: string;
  hint?: string;
  problems?: Problem[];
}

export interface Page<Item> {
  items: Item[];
  total: number;
}
