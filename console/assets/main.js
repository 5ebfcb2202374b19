import { $, setText, duration, short } from '/console/dom.js';
import { call, serverNow } from '/console/api.js';
import { setUpTables, sessionKey } from '/console/tables.js';
import { followLog } from '/console/log.js';
import { setUpTry, setTryAgents, pick } from '/console/try.js';

const pollEvery = 2000; // milliseconds, while the page is visible
const fullEvery = 3; // polls; the others ask for running sessions only

let [info, agents, running, ended] = [undefined, [], [], []];
let timer, polling, again, polls = 0;

const { showAgents, showSessions } = setUpTables({
  tryAgent: (a) => pick(a.agentRuntimeName),
  logAgent: (a) => openLog({ agent: a.agentRuntimeId, label: a.agentRuntimeName }),
  trySession: (s) => pick(s.agentRuntimeName, s.runtimeSessionId),
  logSession: (s) => openLog({ agent: s.agentRuntimeId, session: s.runtimeSessionId, label: `${s.agentRuntimeName} ${short(s.runtimeSessionId)}` }),
  stop: (s) => {
    s.state = 'Stopping'; // until the server says so
    show();
    act('DELETE', `sessions/${encodeURIComponent(s.runtimeSessionId)}`, { agent: s.agentRuntimeId });
  },
});

async function poll() {
  again = true;
  if (polling) return;
  polling = true;
  clearTimeout(timer);
  while (again) {
    again = false;
    try {
      await load();
      show();
      setText($('status'), 'connected');
      document.body.classList.remove('offline');
    } catch (e) {
      polls = 0; // all may be different when the server is back
      setText($('status'), `${e.message}; trying again`);
      document.body.classList.add('offline');
    }
  }
  polling = false;
  if (!document.hidden) timer = setTimeout(poll, pollEvery);
}

// load asks for all every few times, and when a session came or went.
async function load() {
  let full = polls++ % fullEvery === 0;
  const before = new Map(running.map((s) => [sessionKey(s), s]));
  let { sessions } = await call('GET', 'sessions', { all: full, stats: true });
  if (!full && (sessions.length !== before.size || sessions.some((s) => !before.has(sessionKey(s))))) {
    full = true;
    ({ sessions } = await call('GET', 'sessions', { all: true, stats: true }));
  }
  if (full) {
    [info, agents] = await Promise.all([call('GET', 'info'), call('GET', 'agents')]);
    ended = sessions.filter((s) => s.state === 'Stopped');
  }
  running = sessions.filter((s) => s.state !== 'Stopped');
  for (const s of running) {
    s.measuredAt = performance.now();
    const was = before.get(sessionKey(s));
    s.cpuShare = (s.cpuSeconds - was?.cpuSeconds) / (s.measuredAt - was?.measuredAt) * 1000; // of a core; NaN at first
  }
}

function show() {
  if (!info) return;
  setText($('server'), `${info.driver}: ${info.isolation}`);
  $('server').classList.toggle('warn', info.isolation.startsWith('none'));
  $('server').title = `${info.isolation}\nIsolde ${info.version}, up ${duration(serverNow() - Date.parse(info.startedAt))}, data in ${info.dataDir}`;
  showAgents(agents, running);
  showSessions(running, ended);
  setTryAgents(agents);
  const server = location.port === '4765' ? '' : ` --server ${location.origin}`;
  setText($('deploy-command'), `isolde deploy FOLDER${server}`);
  setText($('invoke-command'), `isolde invoke ${agents[0]?.agentRuntimeName ?? 'AGENT'} 'Hello'${server}`);
  $('invoke-command').hidden = agents.length === 0;
  document.title = running.length ? `Isolde (${running.length})` : 'Isolde';
}

function openLog(source) {
  followLog(source);
  $('log').focus();
}

// act calls the operator API and shows what goes wrong until the next time.
async function act(...args) {
  const error = await call(...args).then(() => '', (e) => e.message);
  setText($('notice'), error);
  $('notice').hidden = !error;
  await poll();
}

$('stop-all').addEventListener('click', () => { if (confirm(`Stop all ${running.length} running sessions?`)) act('DELETE', 'sessions'); });
$('log-all').addEventListener('click', () => followLog());
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
setInterval(() => { if (!document.hidden) show(); }, 1000); // the times go on between polls
setUpTry(poll);
followLog();
poll();
