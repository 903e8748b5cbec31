// Node as a peer: `node node_peer.mjs promises|callbacks`. The protocol and the rules of fairness are python_peer.py's.
import crypto from 'node:crypto';
import fs from 'node:fs';
import readline from 'node:readline';

const BACKLOG = 64;
const JOB_MILLISECONDS = 20;
const promises = process.argv[2] === 'promises';
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

function pathsOf(request) {
  return Array.from({ length: request.files }, (_, number) => `${request.directory}/${number}`);
}

async function verify(request) {
  const digest = crypto.createHash('sha256');
  for (const path of pathsOf(request)) digest.update(await fs.promises.readFile(path));
  if (digest.digest('hex') !== request.digest) throw new Error('the files read differ from the files laid out');
}

async function rate(request) {
  if (request.verify && request.operation === 'read_file') await verify(request);
  const paths = pathsOf(request);
  const data = Buffer.alloc(request.size, request.fill);
  const { operation, operations } = request;
  let started = 0;
  let done = 0;
  let total = 0;
  const add = (size) => { total += size; done++; };

  // Each loop is what a user would write: nothing but the call itself is awaited, or called back.
  const awaited = {
    read_file: async () => {
      while (started < operations) add((await fs.promises.readFile(paths[started++ % paths.length])).length);
    },
    stat: async () => {
      while (started < operations) add((await fs.promises.stat(paths[started++ % paths.length])).size);
    },
    write_file: async () => {
      while (started < operations) {
        await fs.promises.writeFile(paths[started++ % paths.length], data);
        add(data.length);
      }
    },
  };
  const called = (resolve, reject) => {
    const after = (size) => {
      add(size);
      if (done === operations) resolve();
      else start();
    };
    const starts = {
      read_file: () => fs.readFile(paths[started++ % paths.length], (error, content) => {
        if (error) reject(error); else after(content.length);
      }),
      stat: () => fs.stat(paths[started++ % paths.length], (error, stats) => {
        if (error) reject(error); else after(stats.size);
      }),
      write_file: () => fs.writeFile(paths[started++ % paths.length], data, (error) => {
        if (error) reject(error); else after(data.length);
      }),
    };
    const start = () => { if (started < operations) starts[operation](); };
    for (let n = 0; n < request.in_flight; n++) start();
  };

  const begin = performance.now();
  if (promises) await Promise.all(Array.from({ length: request.in_flight }, awaited[operation]));
  else await new Promise(called);
  return { seconds: (performance.now() - begin) / 1e3, operations: done, total };
}

let iterations = 0;
function calibrate() {
  let best = Infinity;
  for (let n = 0; n < 5; n++) {
    const begin = performance.now();
    crypto.pbkdf2Sync('password', 'salt', 20000, 32, 'sha256');
    best = Math.min(best, performance.now() - begin);
  }
  return Math.floor(20000 * JOB_MILLISECONDS / best);
}

// How long one stat takes, every two milliseconds or so, while 64 pbkdf2 of 20 ms wait at any time.
async function fairness(request) {
  iterations ||= calibrate();
  let stop = false;
  let finished = 0;
  const pbkdf2 = () => new Promise((resolve) => crypto.pbkdf2('password', 'salt', iterations, 32, 'sha256', resolve));
  const keepFull = async () => { while (!stop) { await pbkdf2(); finished++; } };
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const stat = promises ? fs.promises.stat : (path) => new Promise((resolve, reject) => {
    fs.stat(path, (error, stats) => (error ? reject(error) : resolve(stats)));
  });
  const backlog = Array.from({ length: BACKLOG }, keepFull);
  await sleep(5 * JOB_MILLISECONDS);
  const path = `${request.directory}/0`;
  const latencies = [];
  const begin = performance.now();
  finished = 0;
  for (let started = begin; started - begin < request.seconds * 1e3; started = performance.now()) {
    if ((await stat(path)).size !== request.size) throw new Error('wrong size');
    latencies.push(performance.now() - started);
    await sleep(2);
  }
  const jobs = finished / (performance.now() - begin) * 1e3;
  stop = true;
  await Promise.all(backlog);
  latencies.sort((a, b) => a - b);
  const percentile = (part) => latencies[Math.ceil(part * latencies.length) - 1];
  return { 'p50 ms': percentile(0.5), 'p99 ms': percentile(0.99), 'max ms': percentile(1), stats: latencies.length, 'pbkdf2/s': jobs };
}

say({ node: process.versions.node, libuv: process.versions.uv });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    say(await (request.operation === 'fairness' ? fairness : rate)(request));
  } catch (error) {
    say({ error: String(error) });
  }
}
