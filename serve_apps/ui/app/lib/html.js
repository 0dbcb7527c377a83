// The markup of every component: `htm` bound to Preact.

import { h } from 'preact';
import htm from 'htm';

// `htm` keeps a piece without values and hands out the same one again. A kept piece knows where it first
// stood, and so keeps the rows of the first picture for as long as the tab is open: 3 says "not to be kept".
export const html = htm.bind(function made(...parts) {
  this[0] = 3;
  return h(...parts);
});
