// Numbers and times for people. Money arrives as decimal strings and stays text: grouping and
// rounding are done on digits, never through floating point.

const GROUP = /\B(?=(\d{3})+(?!\d))/g;

export function money(text, places = 2) {
  if (text === null || text === undefined || text === '') return '–';
  const [, sign, whole, fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(String(text)) ?? [];
  if (whole === undefined) return String(text);
  const digits = roundDigits(whole, fraction, places);
  const zero = /^[0.]*$/.test(digits.whole + digits.fraction);
  const grouped = digits.whole.replace(GROUP, ',');
  return `${zero ? '' : sign.replace('-', '−')}${grouped}${digits.fraction ? `.${digits.fraction}` : ''}`;
}

function roundDigits(whole, fraction, places) {
  const padded = (fraction + '0'.repeat(places)).slice(0, places);
  const up = Number(fraction[places] ?? 0) >= 5;
  let digits = BigInt(whole + padded);
  if (up) digits += 1n;
  const text = digits.toString().padStart(places + 1, '0');
  return { whole: text.slice(0, text.length - places) || '0', fraction: places ? text.slice(-places) : '' };
}

export const trimmed = (text) => (String(text ?? '').includes('.') ? String(text).replace(/\.?0+$/, '') : String(text ?? ''));

export const tone = (text) => (/^-/.test(String(text)) ? 'down' : /[1-9]/.test(String(text ?? '')) ? 'up' : '');

export const utc = (ms) => (ms ? new Date(ms).toISOString().slice(0, 19).replace('T', ' ') : '–');

// Month, day and minute: what a dense table needs; the full time is in the title.
export const brief = (ms) => (ms ? new Date(ms).toISOString().slice(5, 16).replace('T', ' ') : '–');

export const clockText = (ms) => (ms ? new Date(ms).toISOString().slice(11, 19) : '–');

export const local = (ms) => (ms ? `${utc(ms)} UTC, local ${new Date(ms).toLocaleString()}` : '');

export function age(ms) {
  if (ms === null || ms === undefined) return 'never';
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

// How long a candle is, to sort by: `1m` is a minute and `1M` a month.
const MINUTES = { m: 1, h: 60, d: 1440, w: 10_080, M: 43_200 };
export const minutesOf = (interval) => (interval ? Number.parseInt(interval, 10) * MINUTES[interval.at(-1)] : null);

export const percent = (fraction, places = 2) => (fraction === null || fraction === undefined ? '–' : `${(fraction * 100).toFixed(places)} %`);

export const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;

// The exact sum of decimal strings; what is no number counts nothing.
const PLACES = 18;
export function sum(texts) {
  let total = 0n;
  for (const text of texts) {
    const [, sign, whole, fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(String(text ?? '')) ?? [];
    if (whole === undefined) continue;
    const units = BigInt(whole + fraction.slice(0, PLACES).padEnd(PLACES, '0'));
    total += sign ? -units : units;
  }
  const digits = (total < 0n ? -total : total).toString().padStart(PLACES + 1, '0');
  return `${total < 0n ? '-' : ''}${digits.slice(0, -PLACES)}.${digits.slice(-PLACES)}`;
}
