/** What the API answers with, as far as the scripts read it: `/docs` describes all of it. */

import type { Method, Page } from "./common.js";
import type { Config, Download, Events, Log, Overfitting, Queued, Run, Series } from "./runs.js";
import type { DrawingJob, Job, KeptVote, Vote } from "./jobs.js";
import type {
  CaptionPreview,
  Changed,
  Dataset,
  Health,
  HubPreview,
  Picture,
  Suggested,
  TokensOfPicture,
} from "./datasets.js";

export type * from "./common.js";
export type * from "./datasets.js";
export type * from "./jobs.js";
export type * from "./runs.js";

export interface Session {
  login?: string | null;
  logout: string | null;
  signed_in: boolean;
  name: string;
  import_roots?: string[];
}

export interface Preset {
  id: string;
  name: string;
  own: boolean;
  config: Config;
}

export interface Field {
  path: string;
  basic: boolean;
  expert: boolean;
  reference: string | null;
}

export interface Schema {
  sections: { name: string; fields: Field[] }[];
}

export interface Deleted {
  id: string;
  kind: string;
  subject: string;
  name: string;
  part_of: string | null;
  deleted: number;
  gone_at: number;
  bytes: number;
  restorable: boolean;
}

export interface Room {
  bytes: number;
  trash: number;
  waiting: { runs: number; jobs: number };
  limits: { bytes: number; runs: number; jobs: number } | null;
  people: { id: string; name: string; kinds: Record<string, number>; trash: number }[] | null;
  free_bytes: number | null;
}

// ----------------------------------------------------------------------------------------------------------- routes

interface Items<Item> {
  items: Item[];
}

/** The answer to a call; the first row that fits the path and the method. */
export type AnswerTo<M extends Method, Path extends string> = First<Path, M, Routes>;

type First<Path extends string, M extends Method, Rows> = Rows extends [
  [infer Methods, infer Pattern, infer Answer],
  ...infer More,
]
  ? Path extends Pattern
    ? M extends Methods
      ? Answer
      : First<Path, M, More>
    : First<Path, M, More>
  : unknown;

type Routes = [
  ["GET", `runs?${string}`, Items<Run>],
  ["POST", "runs", Run],
  ["GET", `runs/${string}/events?${string}`, Events],
  ["GET", `runs/${string}/files`, Items<Download>],
  ["GET", `runs/${string}/log${string}`, Log],
  ["GET", `runs/${string}/series?${string}`, Series],
  ["GET", `runs/${string}/overfitting`, Overfitting],
  ["GET", `runs/${string}/votes`, Items<KeptVote>],
  ["POST", `runs/${string}/overfitting` | `runs/${string}/publish`, Job],
  ["POST", `runs/${string}/draw`, DrawingJob],
  ["GET" | "POST" | "PATCH", `runs/${string}`, Run],
  ["GET", `jobs?subject=${string}&kind=draw&${string}`, Items<DrawingJob>],
  ["GET", `jobs?${string}`, Items<Job>],
  ["GET" | "POST", `jobs/${string}/votes`, Vote],
  ["GET" | "POST", `jobs/${string}`, Job],
  ["GET" | "POST", "queue", Items<Queued>],
  ["POST", "datasets/preview", HubPreview],
  ["GET", "datasets", Items<Dataset>],
  ["POST", "datasets", Dataset],
  ["GET", `datasets/${string}/images?${string}`, Page<Picture>],
  ["PATCH", `datasets/${string}/images/${string}`, Picture & { dataset: string }],
  ["POST", `datasets/${string}/images/${string}/see`, Job],
  ["GET", `datasets/${string}/images/${string}/tokens?${string}`, TokensOfPicture],
  ["GET", `datasets/${string}/tags?${string}`, Page<{ tag: string; count: number }>],
  ["POST", `datasets/${string}/captions`, Changed & CaptionPreview],
  ["POST", `datasets/${string}/caption` | `datasets/${string}/push`, Job],
  ["GET", `datasets/${string}/suggestions?${string}`, Page<Suggested>],
  ["POST", `datasets/${string}/suggestions` | `datasets/${string}/fix`, Changed],
  ["GET", `datasets/${string}/health?${string}`, Health],
  ["GET", `datasets/${string}/arrived`, Items<{ name: string; bytes: number }>],
  ["GET" | "POST" | "PATCH", `datasets/${string}`, Dataset],
  ["GET", "config/schema", Schema],
  ["GET", "presets", Items<Preset>],
  ["GET", "session", Session],
  ["GET", "trash", Items<Deleted> & { bytes: number }],
  ["POST", "trash/empty", { removed: number; bytes: number }],
  ["GET", "usage", Room],
];
