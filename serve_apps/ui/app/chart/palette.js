// The colours of the tokens, read once a theme: asking the style for each mark would cost more than drawing it.

const NAMES = ['fg', 'muted', 'line', 'panel', 'bg', 'up', 'down', 'live', 'paper', 'accent', 'warn'];
let held = null;

export function palette() {
  if (!held) {
    const style = getComputedStyle(document.documentElement);
    held = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    held.font = style.getPropertyValue('--font').trim();
  }
  return held;
}

export const forgetPalette = () => {
  held = null;
};
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', forgetPalette);
