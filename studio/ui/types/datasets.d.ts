/** Data sets as the API answers with them: reports of imports, pictures, and what is found in them. */

export interface Dataset {
  id: string;
  name: string;
  created: number;
  read_only: boolean;
  state: string;
  count: number;
  can_undo: boolean;
  can_read_again?: boolean | null;
  cover: string[];
  splits?: Record<string, number>;
  report?: Report | null;
  waiting?: number | null;
}

/** What became of the files of an import. */
export interface Report {
  seen?: number | null;
  used: number;
  converted: number;
  done: number;
  total?: number;
  skipped?: { file: string; reason: string }[];
  notes?: string[];
  error?: string | null;
  headline?: string | null;
  asks?: Ask[];
  encodings?: EncodingFound[];
  read_as?: { encoding?: string | null } | null;
}

/** A question about where the words of pictures are. */
export interface Ask {
  kind: string;
  file: string;
  message: string;
  columns: { name: string; sample: string }[];
}

/** An encoding that captions were read in, and what they say in others. */
export interface EncodingFound {
  encoding: string;
  files: number;
  sure: boolean;
  file: string;
  sample: string;
  others: { encoding: string; sample: string }[];
}

export type Square = [x: number, y: number, side: number];

export interface Picture {
  id: string;
  name: string;
  url: string;
  thumb: string;
  width: number;
  height: number;
  captions?: string[];
  split?: string;
  crop?: Square | null;
  repeats?: number;
}

export interface Changed extends Dataset {
  changed: number;
}

export interface CaptionPreview {
  changed: number;
  examples: { id: string; before: string | string[]; after: string | string[] }[];
}

export interface Health {
  count: number;
  measured: number;
  resolution: number;
  encoders: { name: string; limit: number }[];
  findings: Finding[];
  short_side: HistogramClass[];
  aspect: HistogramClass[];
  buckets: { width: number; height: number; count: number }[];
}

export interface HistogramClass {
  from: number;
  to: number | null;
  count: number;
}

export interface Finding {
  code: string;
  count: number;
  fixes: string[];
  items: FoundPicture[];
}

export interface FoundPicture extends Picture {
  side?: number;
  aspect?: number;
  blur?: number;
  times?: number;
  of?: string;
  encoders?: { caption: string; cut: string }[];
}

export interface TokensOfPicture {
  captions: { caption: string; encoders: TokensRead[] }[];
}

/** A caption as an encoder's tokens, each [first letter, letter after it]; those from `kept` on are cut off. */
export interface TokensRead {
  encoder: string;
  limit: number;
  tokens: [number, number][];
  kept: number;
}

export interface Suggested extends Picture {
  suggestion: string;
}

/** A look at a data set of the Hub before it is imported. */
export interface HubPreview {
  columns?: Record<string, string>;
  image: string | null;
  caption: string | null;
  table?: boolean;
  rows: { thumb?: string; problem?: string; captions: string[] }[];
  splits?: Record<string, number | null>;
  total?: number | null;
  private?: boolean;
  gated?: boolean | string;
}
