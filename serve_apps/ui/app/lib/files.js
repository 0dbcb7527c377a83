// Saving what a page shows as a file of the person who looks at it.

import { read } from './api.js';
import { toast } from './ui.js';

export function save(name, blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const ARROW = 'application/vnd.apache.arrow.stream';

// Save the answer of a route as it is.
export async function saveAnswer(path, type, name) {
  try {
    save(name, await read(path, type));
  } catch (problem) {
    toast(`${name} was not saved: ${problem.message}`, { bad: true, traceId: problem.traceId });
  }
}
