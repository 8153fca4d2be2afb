/** Figures for people. The wire has seconds, bytes and instants; tables have these. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Three significant figures in binary units: `1.50 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return `${Math.round(value)} B`;
  return `${value.toPrecision(value >= 999.5 ? 4 : 3)} ${UNITS[unit]}`;
}

/** The two largest units: `1d 2h`, `3m 20s`, `12s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return '0s';
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count}${unit}`).join(' ');
}

/** Below ten seconds the tenths matter: `1.4 s`; `–` where nothing was measured. */
export function formatMs(ms: number | null): string {
  if (ms === null) return '–';
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : formatSeconds(ms / 1000);
}

/** `2026-03-01 12:00:05Z`: sortable, and accepted back as a time when the blank is a `T`. */
export function formatTime(iso: string | null): string {
  return iso === null ? '–' : iso.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/** `3m 20s ago`, by the clock of this machine. */
export function formatAge(iso: string | null, nowMs: number): string {
  if (iso === null) return '–';
  const ageMs = nowMs - Date.parse(iso);
  return ageMs < 0 ? formatTime(iso) : `${formatSeconds(ageMs / 1000)} ago`;
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

export function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}
