import { $, setText, short, duration, bytes } from '/console/dom.js';
import { serverNow } from '/console/api.js';
import { Table } from '/console/table.js';

const shownEnded = 50;

export const sessionKey = (s) => `${s.agentRuntimeId} ${s.runtimeSessionId}`;

const until = (time) => duration(Date.parse(time) - serverNow());
const since = (time) => duration(serverNow() - Date.parse(time));

const agent = { label: 'Agent', text: (x) => x.agentRuntimeName };
const session = { label: 'Session', text: (s) => short(s.runtimeSessionId), copy: (s) => s.runtimeSessionId };

function lastError({ lastError: e }) {
  return e && { text: e.message, title: [`Last error ${since(e.time)} ago`, e.status && `the agent answered ${e.status}`, e.requestId && `request ${e.requestId}`].filter(Boolean).join(' · ') };
}

// setUpTables returns what shows agents and sessions. on has what their
// buttons do: tryAgent, logAgent, trySession, logSession, stop.
export function setUpTables(on) {
  const agents = new Table($('agents'), {
    key: (a) => a.agentRuntimeId,
    columns: [
      agent,
      { label: 'Status', text: (a) => a.status, state: (a) => a.status },
      { label: 'Version', text: (a) => a.agentRuntimeVersion },
      { label: 'Running', text: (a) => a.running },
      { label: 'ARN', text: (a) => a.agentRuntimeArn, copy: (a) => a.agentRuntimeArn },
    ],
    actions: [{ label: 'Try', title: 'Call this agent', act: on.tryAgent }, { label: 'Log', title: 'Follow the log of this agent', act: on.logAgent }],
    error: (a) => a.failureReason && { title: `${a.status}, version ${a.agentRuntimeVersion}`, text: a.failureReason },
    open: true,
  });
  const running = new Table($('running'), {
    key: sessionKey,
    columns: [
      agent, session,
      { label: 'User', text: (s) => s.userId ?? '–' },
      { label: 'State', text: (s) => (s.busy ? `${s.state}, busy` : s.state), state: (s) => s.state },
      { label: 'Age', text: (s) => since(s.startedAt) },
      { label: 'Idle end in', text: (s) => (s.idleTimeoutAt ? until(s.idleTimeoutAt) : '–') },
      { label: 'Max end in', text: (s) => until(s.expiresAt) },
      { label: 'Requests', text: (s) => (s.inFlight ? `${s.requests}, ${s.inFlight} in flight` : s.requests) },
      { label: 'CPU', text: (s) => [s.cpuShare >= 0 && `${Math.round(s.cpuShare * 100)} %`, s.cpuSeconds && (s.cpuSeconds < 60 ? `${s.cpuSeconds.toFixed(1)}s` : duration(s.cpuSeconds * 1000))].filter(Boolean).join(' · ') || '–' },
      { label: 'Memory', text: (s) => (s.memoryBytes ? bytes(s.memoryBytes) : '–') },
    ],
    actions: [
      { label: 'Try', title: 'Call the agent in this session', act: on.trySession },
      { label: 'Log', title: 'Follow the log of this session', act: on.logSession },
      { label: 'Stop', title: 'End this session', className: 'danger', act: on.stop, disabled: (s) => s.state === 'Stopping' },
    ],
    error: lastError,
    open: true,
  });
  const ended = new Table($('ended'), {
    key: sessionKey,
    columns: [
      agent, session,
      { label: 'Ended', text: (s) => `${since(s.endedAt)} ago` },
      { label: 'Ran for', text: (s) => duration(Date.parse(s.endedAt) - Date.parse(s.startedAt)) },
      { label: 'Requests', text: (s) => s.requests },
      { label: 'Ended by', text: (s) => s.endCause ?? '–' },
      { label: 'Why it ended', text: (s) => (s.endReason ? `it ${s.endReason}` : '–') },
    ],
    actions: [{ label: 'Log', title: 'Read the log of this session', act: on.logSession }],
    error: lastError,
    open: false,
  });
  return {
    showAgents(list, sessions) {
      $('agents-empty').hidden = list.length > 0;
      agents.show(list.map((a) => ({ ...a, running: sessions.filter((s) => s.agentRuntimeId === a.agentRuntimeId).length })));
    },
    showSessions(now, past) {
      $('sessions-empty').hidden = now.length > 0;
      $('stop-all').hidden = now.length < 2;
      running.show(now);
      $('ended-box').hidden = past.length === 0;
      setText($('ended-title'), `${past.length} ended${past.length > shownEnded ? `, the newest ${shownEnded} are shown` : ''}`);
      ended.show(past.toSorted((a, b) => Date.parse(b.endedAt) - Date.parse(a.endedAt)).slice(0, shownEnded));
    },
  };
}
