// The colours of the tokens, read once a theme: asking the style for each mark would cost more than drawing it.

const NAMES = ['fg', 'muted', 'line', 'panel', 'up', 'down', 'live', 'paper', 'accent', 'warn'];
const dark = matchMedia('(prefers-color-scheme: dark)');
let held = null;

export function palette() {
  const theme = document.documentElement.dataset.theme ?? String(dark.matches);
  if (held?.theme !== theme) {
    const style = getComputedStyle(document.documentElement);
    held = { theme, ...Object.fromEntries([...NAMES, 'font'].map((name) => [name, style.getPropertyValue(`--${name}`).trim()])) };
  }
  return held;
}
