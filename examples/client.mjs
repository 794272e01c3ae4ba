#!/usr/bin/env node
// A client on the bare socket: adds a batch, runs it, waits, and says what failed. Node.js alone is needed.
//
//     node examples/client.mjs 'echo one' 'exit 3'
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const data = process.env.XDG_DATA_HOME || join(homedir(), '.local/share');
const home = process.env.BATCH_EXECUTOR_HOME || join(data, 'batch-executor');
const socket = connect(join(home, 'daemon.sock'));
const answers = createInterface({ input: socket })[Symbol.asyncIterator]();

async function call(action, parameters = {}) {
  socket.write(JSON.stringify({ action, ...parameters }) + '\n');
  const answer = JSON.parse((await answers.next()).value);
  if (!answer.ok) throw new Error(`${action}: ${answer.message}`);
  return answer.data;
}

const task = (line) => ({ name: line, function: 'code_execution', params: { runtime: 'terminal', code: line }, max_retries: 0 });
const tasks = process.argv.slice(2).map(task);
const { batch_id } = await call('add_batch', { tasks, request_key: randomUUID() });
await call('start', { max_concurrent: 4 });
const { counts } = await call('wait', { batch_id });
console.log(`${counts.completed} completed, ${counts.failed} failed`);
for (const { name, error } of (await call('results', { batch_id, filter_status: 'failed' })).tasks) {
  console.log(`${name}: ${error}`);
}
socket.end();
