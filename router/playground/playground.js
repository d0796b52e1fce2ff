// The playground: one conversation with one model over /v1/chat/completions, streamed.
import {render} from './markdown.js';

const $ = (id) => document.getElementById(id);
const log = $('log');
let messages = [];   // what the model is shown, without the system prompt
let running = null;  // AbortController of the answer in progress

// ---- requests

function headers() {
  const key = $('api-key').value.trim();
  return key ? {authorization: `Bearer ${key}`} : {};
}

// The API's error as one readable line; 401 shows where the key goes.
async function failure(answer) {
  const body = await answer.text();
  if (answer.status === 401) showSettings(true, 'api-key');
  try {
    return `${answer.status}: ${JSON.parse(body).error.message}`;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

function requestBody() {
  const body = {
    model: $('model').value,
    messages: [...messages],
    stream: true,
    stream_options: {include_usage: true},
  };
  const system = $('system').value.trim();
  if (system) body.messages.unshift({role: 'system', content: system});
  for (const field of ['temperature', 'top_p', 'max_tokens', 'seed']) {
    if ($(field).value !== '') body[field] = Number($(field).value);
  }
  return body;
}

// The payload of each server-sent event, up to [DONE].
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const data = rest.slice(0, end).split('\n').filter((l) => l.startsWith('data:'))
                       .map((l) => l.slice(5).trim()).join('\n');
      rest = rest.slice(end + 2);
      if (data === '[DONE]') return;
      if (data) yield JSON.parse(data);
    }
  }
}

// ---- what is shown

function add(kind, ...children) {
  const node = document.createElement('div');
  node.className = `message ${kind}`;
  node.append(...children);
  log.append(node);
  log.scrollTop = log.scrollHeight;
  return node;
}

// One answer as it grows: reasoning folded, text as Markdown, figures below.
class AnswerView {
  constructor() {
    this.text = '';
    this.reasoning = '';
    this.body = document.createElement('div');
    this.body.className = 'body waiting';
    this.stats = document.createElement('div');
    this.stats.className = 'stats';
    this.node = add('assistant', this.body, this.stats);
    this.scheduled = false;
  }

  push(delta) {
    this.text += delta.content ?? '';
    if (delta.reasoning_content) this.pushReasoning(delta.reasoning_content);
    this.draw();
  }

  pushReasoning(text) {
    if (!this.thoughts) {
      const details = document.createElement('details');
      const summary = document.createElement('summary');
      summary.textContent = 'Reasoning';
      this.thoughts = document.createElement('div');
      details.className = 'reasoning';
      details.append(summary, this.thoughts);
      this.node.prepend(details);
    }
    this.reasoning += text;
    this.thoughts.textContent = this.reasoning;
  }

  // At most once a frame, however fast tokens come.
  draw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.scheduled = false;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    this.body.replaceChildren(...render(this.text));
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  finish() {
    this.drawNow();
    this.body.classList.remove('waiting');
  }
}

// Time to the first token, then tokens a second after it.
class Stopwatch {
  constructor() {
    this.start = performance.now();
    this.first = 0;
    this.last = 0;
    this.pieces = 0;
  }

  tick() {
    this.last = performance.now();
    if (!this.first) this.first = this.last;
    ++this.pieces;
  }

  text(usage, reason) {
    if (!this.first) return reason;
    const tokens = usage?.completion_tokens ?? this.pieces;
    const seconds = (this.last - this.first) / 1000;
    const parts = [`first token ${Math.round(this.first - this.start)} ms`];
    if (tokens > 1 && seconds > 0) parts.push(`${((tokens - 1) / seconds).toFixed(1)} tokens/s`);
    parts.push(usage ? `${usage.prompt_tokens} + ${tokens} tokens` : `${tokens} pieces`);
    if (reason) parts.push(reason);
    return parts.join(' · ');
  }
}

function showSettings(shown, focus) {
  $('settings').hidden = !shown;
  $('toggle-settings').setAttribute('aria-expanded', String(shown));
  if (focus) $(focus).focus();
}

function setRunning(controller) {
  running = controller;
  $('send').hidden = running !== null;
  $('stop').hidden = running === null;
  if (running === null) $('prompt').focus();
}

// ---- the conversation

// Reads one streamed answer into `view`. Returns why it ended; throws Error with the API's words.
async function stream(view, watch, signal) {
  const answer = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: {'content-type': 'application/json', ...headers()},
    body: JSON.stringify(requestBody()),
    signal,
  });
  if (!answer.ok) throw new Error(await failure(answer));
  let reason = '';
  for await (const event of events(answer)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices?.[0];
    if (choice?.delta?.content || choice?.delta?.reasoning_content) {
      watch.tick();
      view.push(choice.delta);
    }
    if (choice?.finish_reason) reason = choice.finish_reason;
    view.stats.textContent = watch.text(event.usage, reason === 'stop' ? '' : reason);
  }
  if (!reason) throw new Error('the connection ended before the answer did');
}

async function ask(text) {
  add('user', text);
  messages.push({role: 'user', content: text});
  const controller = new AbortController();
  setRunning(controller);
  const view = new AnswerView();
  const watch = new Stopwatch();
  try {
    await stream(view, watch, controller.signal);
  } catch (error) {
    if (controller.signal.aborted) {
      view.stats.textContent = watch.text(null, 'stopped');
    } else {
      add('error', error.message).setAttribute('role', 'alert');
    }
  } finally {
    view.finish();
    // A question without an answer is not part of what the model is shown next.
    if (view.text) messages.push({role: 'assistant', content: view.text});
    else messages.pop();
    if (!view.text && !view.reasoning && !view.stats.textContent) view.node.remove();
    setRunning(null);
  }
}

async function loadModels() {
  let answer;
  try {
    answer = await fetch('/v1/models', {headers: headers()});
  } catch {
    return add('error', 'The router does not answer.');
  }
  if (!answer.ok) return add('error', await failure(answer));
  const {data} = await answer.json();
  $('model').replaceChildren(...data.map(({id}) => new Option(id, id)));
  if (!data.length) add('error', 'No worker is connected yet: no model to talk to.');
}

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('prompt').value.trim();
  if (!text || running) return;
  $('prompt').value = '';
  ask(text);
});
$('prompt').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('composer').requestSubmit();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});
$('stop').addEventListener('click', () => running?.abort());
$('new-chat').addEventListener('click', () => {
  running?.abort();
  messages = [];
  log.replaceChildren();
  $('prompt').focus();
});
$('toggle-settings').addEventListener('click', () => showSettings($('settings').hidden));
$('settings').addEventListener('submit', (event) => event.preventDefault());
$('api-key').addEventListener('change', () => {
  log.querySelectorAll('.error').forEach((node) => node.remove());
  loadModels();
});

loadModels();
$('prompt').focus();
