/** Runs as the API answers with them: their status, numbers, samples and downloads. */

import type { Fault, State, Weights } from "./common.js";
import type { Job } from "./jobs.js";

/** By section and name; what a setting may hold, `/api/config/schema` says. */
export type Config = Record<string, Record<string, Setting>>;
export type Setting = string | number | boolean | string[] | null | undefined;

export interface Progress {
  state: State;
  phase: string;
  phase_done: number | null;
  phase_total: number | null;
  phase_unit: string | null;
  phase_began: number | null;
  phase_usual_seconds: number | null;
  queue_position: number | null;
}

export interface RunStatus extends Progress {
  step: number;
  total_steps: number | null;
  eta_seconds: number | null;
  pictures_per_second: number | null;
  loss: number | null;
  lr: number | null;
  validation: Record<string, number | null>;
  actions: string[];
  note: string | null;
  revision?: unknown;
  usage?: Usage | null;
}

/** What a process uses now. */
export interface Usage {
  memory_bytes?: number;
  cores_busy?: number | null;
  gpu_memory_bytes?: number | null;
  gpu_percent?: number | null;
}

export interface Run extends RunStatus {
  id: string;
  name: string;
  created: number;
  seq: number;
  dataset: { id?: string; name?: string } | null;
  config?: Config | null;
  error: (Fault & { evidence?: unknown }) | null;
  fixes: Fix[];
  warnings: Warning[];
  resumes: Resume[];
  edits: Edit[];
  checkpoints: Checkpoint[];
  samples: Sample[];
  peak_memory_bytes: number | null;
  command: string[];
}

export interface Warning {
  code?: string | null;
  message: string | null;
}

export interface Checkpoint {
  name: string;
  step: number;
  bytes: number | null;
}

export interface Resume {
  from_step: number | null;
  checkpoint: string | null;
  exact: boolean | null;
  note: string | null;
}

export interface Edit {
  step: number;
  time: number;
  config: Config;
}

/** What puts right what ended a run. */
export interface Fix {
  code: string;
  how: "resume" | "branch" | "again" | "form";
  checkpoint: string | null;
  config: Config;
  values: Record<string, unknown>;
  needs: "token" | null;
  field: string | null;
}

export interface Sample {
  step: number;
  prompt: string;
  prompt_index: number | null;
  weights: Weights;
  seed: number | null;
  /** Null where its name cannot be one. */
  url: string | null;
  file?: string;
  guidance_scale?: number | null;
  num_inference_steps?: number | null;
}

/** By kind they have more: a step its loss, a resume its `from_step`. */
export interface RunEvent {
  seq: number;
  kind: string;
}

export interface StepEvent extends RunEvent {
  kind: "step";
  step: number;
  loss: number | null;
  lr: number | null;
  grad_norm?: number | null;
}

export interface ValidationEvent extends RunEvent {
  kind: "validation";
  step: number;
  loss: number | null;
  weights: Weights;
}

export interface ResumedEvent extends RunEvent {
  kind: "resumed";
  from_step: number;
}

export interface Events extends RunStatus {
  events: RunEvent[];
  next: number;
  last: number;
}

/** Numbers of a run by step; entries are means of several steps where there are too many. */
export interface Series {
  seq: number;
  step: number[];
  loss?: { mean: Numbers; min: Numbers; max: Numbers } | null;
  lr?: { mean: Numbers } | null;
  grad_norm?: { mean: Numbers } | null;
  validation?: Partial<Record<Weights, { step: number[]; loss: Numbers }>> | null;
}
export type Numbers = (number | null)[];

export interface Download {
  path: string;
  size: number;
  kind: string;
  weights: Weights | "" | null;
  step: number | null;
  precision: string;
  /** That take it as it is. */
  programs: string[];
  url: string;
}

export interface Log {
  text: string;
  next: number;
}

export interface Overfitting {
  validation: Record<string, Held>;
  recommended: Recommended | null;
  count: number;
  measured: number;
  samples: Compared[];
  job: Job | null;
}

/** A held-out loss: at its lowest, and the last one. */
export interface Held {
  best: { step: number; loss: number };
  last: { step: number; loss: number };
  risen: boolean;
}

export interface Recommended {
  checkpoint: string;
  step: number;
  weights: Weights;
  why: "newest" | "validation";
  loss: number | null;
  copies: number;
  pictures: number;
}

/** A sample beside the training picture that is nearest to it. */
export interface Compared extends Sample {
  copy: boolean;
  distance: number;
  usual: number | null;
  bits: number;
  nearest: { name: string; captions: string[]; url: string | null };
}

export interface Queued {
  id: string;
  work: "run" | "job";
  name: string;
  position: number;
}
