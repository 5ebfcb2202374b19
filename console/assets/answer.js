import { $, el, setText, duration, bytes } from '/console/dom.js';
import { readText, Events } from '/console/api.js';

const maxAnswer = 1_000_000; // characters shown
const maxAnswers = 20;

// Answer is one exchange in the panel: the prompt, what came, what went wrong.
export class Answer {
  #output = el('pre');
  #errors = el('pre', { className: 'error', hidden: true });
  #meta = el('p', { className: 'dim', });
  #begun = performance.now();
  #first = 0; // milliseconds until the first byte
  #size = 0; // bytes
  #shown = '';
  #type = '';

  constructor(prompt) {
    $('answers').append(el('article', {}, el('pre', { className: 'prompt', textContent: prompt }), this.#output, this.#errors, this.#meta));
    while ($('answers').childElementCount > maxAnswers) $('answers').firstElementChild.remove();
    this.#scroll();
  }

  // wait says that the agent was called.
  wait() { setText(this.#meta, 'waiting…'); }

  // read shows a response as it arrives.
  async read(response) {
    this.#type = (response.headers.get('Content-Type') ?? '').split(';')[0];
    const events = new Events((name, data) => this.#event(name, data));
    const binary = /^(image|audio|video|font)\/|zip|pdf|octet-stream/.test(this.#type);
    try {
      await readText(response, (text, size) => {
        if (size) this.#first ||= performance.now() - this.#begun;
        this.#size += size;
        setText(this.#meta, `${this.#type} · ${bytes(this.#size)} · arriving…`);
        if (this.#type === 'text/event-stream') events.push(text);
        else if (!binary) this.#add(text);
      });
    } finally {
      events.end();
    }
    if (binary) this.#add('(no text: not shown)');
    if (this.#type.endsWith('json')) this.#tidy();
  }

  // fail adds what went wrong.
  fail(text) {
    if (!text) return;
    this.#errors.append((this.#errors.hidden ? '' : '\n\n') + text);
    this.#errors.hidden = false;
    this.#scroll();
  }

  end() {
    const ms = (n) => (n < 10_000 ? `${Math.round(n)} ms` : duration(n));
    setText(this.#meta, [this.#type, this.#first && bytes(this.#size), this.#first && `first byte after ${ms(this.#first)}`, `all after ${ms(performance.now() - this.#begun)}`].filter(Boolean).join(' · '));
    this.#output.normalize();
    this.#scroll();
  }

  // JSON strings are the text they are part of; objects get lines of their
  // own; what the SDKs send for an error after the answer has begun is one.
  #event(name, data) {
    let value;
    try { value = JSON.parse(data); } catch { /* plain text */ }
    if (name === 'error' || value?.error) {
      this.fail([value?.error_type, value?.message ?? value?.error].filter((s) => typeof s === 'string').join(': ') || data);
    } else if (value !== null && typeof value === 'object') {
      this.#add(`${this.#shown && !this.#shown.endsWith('\n') ? '\n' : ''}${data}\n`);
    } else {
      this.#add(typeof value === 'string' ? value : data);
    }
  }

  #add(text) {
    const room = maxAnswer - this.#shown.length;
    if (room <= 0) return;
    this.#shown += text;
    this.#output.append(text.length > room ? `${text.slice(0, room)}\n(the rest is not shown)` : text);
    this.#scroll();
  }

  #tidy() {
    try {
      const value = JSON.parse(this.#shown);
      this.#output.textContent = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    } catch { /* cut off or not JSON: stays as it came */ }
  }

  #scroll() { $('answers').scrollTop = $('answers').scrollHeight; }
}
