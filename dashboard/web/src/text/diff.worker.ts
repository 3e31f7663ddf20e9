/** One question, one answer: the diff of two texts. */

import { diffTexts, type TextDiff } from "./word_diff";

export interface DiffQuestion {
  id: number;
  before: string;
  after: string;
}

export interface DiffAnswer {
  id: number;
  diff: TextDiff | null;
  error: string | null;
}

addEventListener("message", (event: MessageEvent<DiffQuestion>) => {
  const { id, before, after } = event.data;
  let answer: DiffAnswer;
  try {
    answer = { id, diff: diffTexts(before, after), error: null };
  } catch (error) {
    answer = { id, diff: null, error: String(error) };
  }
  postMessage(answer);
});
