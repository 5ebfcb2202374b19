// What the page asks the server. What goes wrong is thrown as an Error whose
// message is fit to be shown.

let skew = 0; // milliseconds the server's clock is ahead of the browser's

export const serverNow = () => Date.now() + skew;

// call calls the operator API.
export async function call(method, path, query = {}) {
  const signal = method === 'GET' ? AbortSignal.timeout(10_000) : undefined; // sessions take their time to stop
  const response = await ask(`/isolde/v1/${path}?${new URLSearchParams(query)}`, { method, signal });
  const ahead = Date.parse(response.headers.get('Date')) - Date.now();
  if (Number.isFinite(ahead)) skew = Math.abs(ahead) < 2000 ? 0 : ahead; // the header has whole seconds
  return response.json();
}

// ask is fetch that throws the server's error, with the response in it.
export async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: 'no-store', ...options });
  } catch (e) {
    throw e.name === 'AbortError' ? e : new Error('the server does not answer', { cause: e });
  }
  if (!response.ok) throw Object.assign(new Error(await errorText(response)), { response });
  return response;
}

// errorText reads an error of the operator API or of the data plane.
async function errorText(response) {
  const status = `${response.status} ${response.headers.get('X-Amzn-ErrorType') ?? response.statusText}: `;
  const text = await response.text().catch(() => '');
  try {
    const body = JSON.parse(text);
    const e = body.error ?? body;
    if (e.message) return status + e.message + (e.hint ? `\n${e.hint}` : '');
  } catch { /* not JSON: shown as it is */ }
  return status + text.trim();
}

// readText hands over the text of an answer as it arrives, with its size in bytes.
export async function readText(response, part) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      part(decoder.decode(value, { stream: !done }), value?.length ?? 0);
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // part may have thrown
  }
}

// Lines splits text that comes in parts into whole lines.
export class Lines {
  #rest = '';
  constructor(line) { this.line = (l) => line(l.endsWith('\r') ? l.slice(0, -1) : l); }
  push(text) {
    const parts = text.split('\n');
    for (const part of parts.slice(0, -1)) {
      this.line(this.#rest + part);
      this.#rest = '';
    }
    this.#rest += parts.at(-1);
  }
  end() { if (this.#rest) this.line(this.#rest); }
}

// Events reads a text/event-stream; an event that the end of the stream cuts
// off counts as well.
export class Events {
  #data = [];
  #name = '';
  #lines = new Lines((line) => this.#line(line));
  constructor(event) { this.event = event; }
  push(text) { this.#lines.push(text); }
  end() { this.#lines.end(); this.#line(''); }
  #line(line) {
    const [, field, value] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
    if (field === 'data') this.#data.push(value);
    if (field === 'event') this.#name = value;
    if (line) return;
    if (this.#data.length) this.event(this.#name, this.#data.join('\n'));
    [this.#data, this.#name] = [[], ''];
  }
}
