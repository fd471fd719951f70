/** Jobs as the API answers with them, by kind, and the votes on what they drew. */

import type { Fault, Weights } from "./common.js";
import type { Progress, Warning } from "./runs.js";

export interface Job extends Progress {
  id: string;
  kind: string;
  name: string;
  created: number;
  subject: string | null;
  seq: number;
  error: Fault | null;
  warnings: Warning[];
  results: JobResult[];
}

/** A file that a job made, and what the job says of it. */
export interface JobResult {
  name: string;
  url: string;
  published?: string;
  [fact: string]: unknown;
}

/** What a check of the settings measured. */
export interface CheckReport extends JobResult {
  finite: boolean;
  steps: number;
  seconds_per_step: number | null;
  seconds_per_picture: number | null;
  seconds_to_first_step: number | null;
  peak_gpu_bytes: number | null;
  peak_memory_bytes: number | null;
  loss: number | null;
}

export interface CheckPicture extends JobResult {
  width: number;
  height: number;
  prompt: string;
}

/** What the model sees of a picture. */
export interface SeenPicture extends JobResult {
  width?: number;
  height?: number;
  latents?: number[];
  psnr?: number;
  mean_error?: number;
}

export interface Column {
  checkpoint?: string | null;
  weights?: Weights | null;
  scale?: number | null;
}

/** What is drawn. */
export interface DrawingArgs {
  columns: Column[];
  prompts: string[];
  negative_prompt: string;
  seeds: number[];
  guidance_scale: number;
  num_inference_steps: number;
  width?: number;
  height?: number;
  resolution?: number;
}

export interface Drawn extends JobResult {
  column: number;
  prompt: number;
  seed: number;
}

export interface DrawingJob extends Job {
  args: DrawingArgs;
  results: Drawn[];
}

/** How often one column of a drawing won against another. */
export interface Tally {
  columns: [number, number];
  wins: [number, number];
  ties: number;
  share: number | null;
  low: number;
  high: number;
  telling: boolean;
}

/** A pair of pictures whose columns are not told. */
export interface Pair {
  pair: number;
  prompt: number;
  left: string;
  right: string;
}

export interface Vote {
  total: number;
  done: number;
  ended: boolean;
  next: Pair | null;
  last: number | null;
  tally: Tally[];
}

export interface KeptVote {
  time: number;
  done: number;
  total: number;
  columns: Column[];
  tally: Tally[];
}
