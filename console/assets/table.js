import { el, setText } from '/console/dom.js';

// Table shows items that come, change and go. What stays keeps its elements,
// and so the focus and the selection.
//
//   key(item)      tells items apart
//   columns        {label, text(item), copy(item): what a click copies, state(item): the colour of a dot}
//   actions        {label, title, className, act(item), disabled(item)}
//   error(item)    {title, text}, shown below the item, or nothing
//   open           whether errors are unfolded
export class Table {
  #rows = new Map();
  constructor(element, options) {
    Object.assign(this, options);
    this.element = element;
    element.append(el('thead', {}, el('tr', {}, ...this.columns.map((c) => el('th', { textContent: c.label })), el('th', { ariaLabel: 'Actions' }))));
  }

  show(items) {
    this.element.hidden = items.length === 0;
    const old = this.#rows;
    this.#rows = new Map();
    let previous = this.element.tHead;
    for (const item of items) {
      const row = old.get(this.key(item)) ?? this.#make();
      old.delete(this.key(item));
      this.#rows.set(this.key(item), row);
      row.update(item);
      if (previous.nextElementSibling !== row.body) previous.after(row.body);
      previous = row.body;
    }
    for (const row of old.values()) row.body.remove();
  }

  #make() {
    let item;
    const cells = this.columns.map((c) => (c.copy ? copyButton(() => c.copy(item)) : el('span')));
    const buttons = this.actions.map((a) => el('button', { textContent: a.label, title: a.title, className: a.className ?? '', onclick: () => a.act(item) }));
    const [title, first, text] = [el('span'), el('span', { className: 'first' }), el('pre', { tabIndex: 0 })];
    const error = el('tr', { className: 'error' }, el('td', { colSpan: cells.length + 1 },
      el('details', { open: this.open }, el('summary', {}, title, first), text)));
    const tds = cells.map((c) => el('td', {}, c));
    tds.forEach((td, i) => { td.dataset.label = this.columns[i].label; }); // what a narrow page shows in place of the head
    const body = el('tbody', {}, el('tr', {}, ...tds, el('td', { className: 'actions' }, ...buttons)), error);
    return { body, update: (now) => {
      item = now;
      this.columns.forEach((c, i) => {
        setText(cells[i], c.text(item));
        if (c.state) cells[i].dataset.state = c.state(item);
      });
      this.actions.forEach((a, i) => { buttons[i].disabled = a.disabled?.(item) ?? false; });
      const e = this.error(item) || { title: '', text: '' };
      error.hidden = !e.text;
      setText(title, e.title);
      setText(first, e.text.split('\n', 1)[0]);
      setText(text, e.text);
    } };
  }
}

function copyButton(value) {
  const b = el('button', { className: 'copy mono', title: 'Copy', onclick: async () => {
    try {
      await navigator.clipboard.writeText(value());
      b.dataset.copied = '';
      setTimeout(() => { delete b.dataset.copied; }, 1200);
    } catch { // not allowed: to be copied by hand
      b.textContent = value();
      getSelection().selectAllChildren(b);
    }
  } });
  return b;
}
