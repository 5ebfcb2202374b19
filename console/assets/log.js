import { $, el, setText } from '/console/dom.js';
import { ask, readText, Lines } from '/console/api.js';

const maxLines = 1000;
const maxLine = 20_000; // characters
const escapes = /\x1b\[[0-?]*[ -/]*[@-~]/g; // colours of a terminal

let stop = new AbortController();

// followLog shows the output of a session, of an agent, or of all, as it
// comes, until it is called again. agent is an id; label says what it is.
export async function followLog({ agent = '', session = '', label = 'all agents' } = {}) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  setText($('log-source'), label);
  $('log-all').hidden = !agent;
  const url = `/isolde/v1/logs?${new URLSearchParams({ follow: true, tail: session ? maxLines : 50, agent, session })}`;
  while (!signal.aborted) {
    try {
      setText($('log-status'), 'connecting…');
      const response = await ask(url, { signal });
      const show = screen(!session, signal);
      setText($('log-status'), 'following');
      const lines = new Lines((line) => { if (line) show(JSON.parse(line)); });
      await readText(response, (text) => lines.push(text));
      setText($('log-status'), 'the server ended it; trying again');
    } catch (e) {
      if (signal.aborted) return;
      setText($('log-status'), `${e.message}; trying again`);
    }
    await new Promise((done) => { setTimeout(done, 2000); });
  }
}

// screen empties the log and returns what adds a line to it. Lines are shown
// once a frame; a hidden page has no frames, and keeps the newest.
function screen(origin, signal) {
  const log = $('log');
  log.replaceChildren(el('div', { className: 'dim', textContent: 'No output yet.' }));
  let [waiting, empty] = [[], true];
  const flush = () => {
    if (signal.aborted) return;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (empty) log.replaceChildren();
    log.append(...waiting.map((line) => logLine(line, origin)));
    [waiting, empty] = [[], false];
    while (log.childElementCount > maxLines) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight; // who reads further up is left in peace
  };
  return (line) => {
    if (waiting.push(line) === 1) requestAnimationFrame(flush);
    if (waiting.length > 2 * maxLines) waiting.splice(0, maxLines);
  };
}

function logLine({ agentRuntimeName, runtimeSessionId, line }, origin) {
  let text = line.replace(escapes, '');
  if (text.length > maxLine) text = `${text.slice(0, maxLine)}… (${text.length - maxLine} more characters)`;
  const e = el('div', { className: text.startsWith('isolde: ') ? 'own' : '' }, text || ' ');
  if (origin) e.prepend(el('span', { className: 'dim', title: runtimeSessionId, textContent: `${agentRuntimeName} ${runtimeSessionId.slice(0, 8)}  ` }));
  return e;
}
