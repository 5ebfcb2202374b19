// How the page changes. What comes from outside gets in as text: no module
// parses HTML, and the server's policy forbids it.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children); // strings become text nodes
  return e;
}

// setText leaves an unchanged text alone, so that a selection in it stays.
export function setText(e, text) { if (e.textContent !== String(text)) e.textContent = text; }

export const short = (id) => (id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

export function duration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return `${d}d ${h}h`;
  if (h) return `${h}h ${m}m`;
  return m ? `${m}m ${s % 60}s` : `${s}s`;
}

export function bytes(n) {
  const unit = n < 1000 ? 0 : n < 1000 * 1024 ? 1 : n < 1000 * 1024 ** 2 ? 2 : 3;
  const value = n / 1024 ** unit;
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${['B', 'KiB', 'MiB', 'GiB'][unit]}`;
}
