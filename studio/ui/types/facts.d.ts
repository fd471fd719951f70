/** What the server knows and the scripts need before they ask: `ui/facts.py`, in each page's head. */

import type { State, Weights } from "./api.js";

export interface Facts {
  /** Those that the URL can name; the first shows by default. */
  pages: string[];
  live_states: State[];
  /** In which a change reaches a run on its way. */
  training_states: State[];
  /** Settings by path that may change on a run's way. */
  editable_settings: string[];
  /** Settings by path that stand in the form's last group. */
  expert_settings: string[];
  weights: Weights[];
  precisions: string[];
  /** Kinds of downloads that hold a whole model, and a LoRA's, the most useful first. */
  whole_kinds: string[];
  lora_kinds: string[];
  /** Where the metadata of a weight file holds the settings. */
  settings_key: string;
  /** What a picture without a caption may take for one. */
  caption_sources: string[];
  encodings: string[];
  /** Kinds and endings of the files that can be sent. */
  uploads: string[];
  /** The side in pixels of the smallest part of a picture that can be learned from. */
  least_crop: number;
  drawing: Record<"guidance_scale" | "num_inference_steps" | "width" | "height", { least: number; most: number }>;
  most_columns: number;
  most_scale: number;
  /** Characters that texts may have. */
  longest: Record<"name" | "preset_name" | "prompt" | "caption" | "caption_edit" | "column", number>;
}
