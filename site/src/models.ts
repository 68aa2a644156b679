/** The models that run in the browser; servers may offer more. */

export interface ModelInfo {
  name: string;
  /** Long side in pixels of the picture that it sees. */
  analysis: number;
  /** Multiplications a pixel, by which the time that it takes is guessed. */
  work: number;
}

export const MODELS: readonly ModelInfo[] = [
  { name: "photo", analysis: 1024, work: 13_244 },
  { name: "photo-fast", analysis: 1024, work: 1_254 },
];
export const DEFAULT_MODEL = "photo";
export const MOST_COMPARED = 3;

/** What `unhaze serve` itself chooses, which depends on the computer. */
export const AUTO = "auto";

export function modelInfo(name: string): ModelInfo | undefined {
  return MODELS.find((each) => each.name === name);
}
