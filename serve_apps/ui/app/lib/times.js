// A moment as an operator types it: UTC, `2026-01-31` or `2026-01-31 12:00`.

export function moment(field, text) {
  const whole = /[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.trim().replace(' ', 'T')}${text.includes(':') ? 'Z' : ''}`;
  const ms = Date.parse(whole);
  if (Number.isNaN(ms)) throw new Error(`${field}: expected a UTC date like 2026-01-31 12:00`);
  return ms;
}
