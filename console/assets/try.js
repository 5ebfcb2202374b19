import { $, el } from '/console/dom.js';
import { ask, call, serverNow } from '/console/api.js';
import { Answer } from '/console/answer.js';

const sessionHeader = 'X-Amzn-Bedrock-AgentCore-Runtime-Session-Id';

let running; // the AbortController of the call that runs

// setUpTry makes the panel work; changed is called when sessions may have changed.
export function setUpTry(changed) {
  $('try').addEventListener('submit', (e) => { e.preventDefault(); send(changed); });
  $('try-payload').addEventListener('keydown', (e) => {
    if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    $('try').requestSubmit();
  });
  $('try-new').addEventListener('click', newSession);
  $('try-agent').addEventListener('change', newSession); // a session is one agent's
  $('try-cancel').addEventListener('click', () => running.abort());
  newSession();
}

function newSession() { $('try-session').value = crypto.randomUUID(); }

// setTryAgents offers the agents and keeps the choice.
export function setTryAgents(agents) {
  const select = $('try-agent');
  const names = agents.map((a) => a.agentRuntimeName);
  $('try-send').disabled = names.length === 0 || running !== undefined;
  if (names.join() === Array.from(select.options, (o) => o.value).join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((n) => el('option', { value: n, textContent: n })));
  if (names.includes(chosen)) select.value = chosen;
}

// pick chooses an agent and, if given, a session of it.
export function pick(agent, session) {
  if (agent !== $('try-agent').value) newSession();
  $('try-agent').value = agent;
  if (session) $('try-session').value = session;
  $('try-payload').focus();
}

async function send(changed) {
  const text = $('try-payload').value.trim();
  if (!text || running) return;
  let payload = JSON.stringify({ prompt: text });
  if (/^[{[]/.test(text)) {
    payload = text;
    try { JSON.parse(text); } catch (e) { return new Answer(text).fail(`not sent, as it is not JSON: ${e.message}`); }
  }
  $('try-payload').value = '';
  if (!$('try-session').value.trim()) newSession();
  running = new AbortController();
  [$('try-send').disabled, $('try-cancel').hidden] = [true, false];
  setTimeout(changed, 300); // a new session is there by then
  await invoke($('try-agent').value, $('try-session').value.trim(), payload, new Answer(text), running.signal);
  running = undefined;
  [$('try-send').disabled, $('try-cancel').hidden] = [false, true];
  changed();
}

async function invoke(agent, session, payload, answer, signal) {
  answer.wait();
  const begun = serverNow();
  const headers = { 'Content-Type': 'application/json', Accept: 'text/event-stream, application/json, */*', [sessionHeader]: session };
  let response;
  try {
    response = await ask(`/runtimes/${encodeURIComponent(agent)}/invocations`, { method: 'POST', body: payload, headers, signal });
    await answer.read(response);
  } catch (e) {
    const request = (e.response ?? response)?.headers.get('X-Amzn-RequestId');
    answer.fail({ AbortError: 'cancelled', TypeError: `the connection broke before the answer was complete (${e.message})` }[e.name] ?? e.message);
    if (e.name !== 'AbortError') answer.fail(await agentError(agent, session, request, begun));
  }
  answer.end();
}

// agentError is what the agent itself said of a failed request, which the
// data plane does not tell.
async function agentError(agent, session, request, begun) {
  try {
    const { lastError: e } = await call('GET', `sessions/${encodeURIComponent(session)}`, { agent });
    const mine = request && e?.requestId ? e.requestId === request : Date.parse(e?.time) > begun - 1000;
    return mine ? `The agent's own error:\n${e.message}` : '';
  } catch {
    return ''; // there is no such session: all is said
  }
}
