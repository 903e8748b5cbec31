// Node's zlib as a peer. The protocol and the data are zlib_peer.py's.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import readline from 'node:readline';
import zlib from 'node:zlib';

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const QUALITY = zlib.constants.BROTLI_PARAM_QUALITY;
const COMMANDS = {
  gunzip: (level) => ['gzip', ['-nc', `-${level}`]],
  brotli_decompress: (level) => ['brotli', ['-c', '-q', `${level}`]],
};
const CALLS = {
  gzip: (level) => (data, done) => zlib.gzip(data, { level }, done),
  gunzip: () => (data, done) => zlib.gunzip(data, done),
  brotli_compress: (level) => (data, done) => zlib.brotliCompress(data, { params: { [QUALITY]: level } }, done),
  brotli_decompress: () => (data, done) => zlib.brotliDecompress(data, done),
};

function piecesOf({ sources, size }) {
  const names = fs.readdirSync(sources).filter((name) => name.endsWith('.py')).sort();
  const data = Buffer.concat(names.map((name) => fs.readFileSync(`${sources}/${name}`)));
  const count = Math.min(16, Math.floor(data.length / size));
  return Array.from({ length: count }, (_, number) => number * Math.floor(data.length / count))
    .filter((at) => at + size <= data.length)
    .map((at) => data.subarray(at, at + size));
}

const cache = new Map();
function inputsOf(request) {
  const { operation, level, size } = request;
  const key = `${operation} ${level} ${size}`;
  if (!cache.has(key)) {
    let inputs = piecesOf(request);
    if (COMMANDS[operation]) {
      const [command, options] = COMMANDS[operation](level);
      inputs = inputs.map((input) => execFileSync(command, options, { input, maxBuffer: 1 << 28 }));
    }
    cache.set(key, inputs);
  }
  return cache.get(key);
}

function answer(request) {
  const { operation, operations, level } = request;
  const inputs = inputsOf(request);
  const encodes = !COMMANDS[operation];
  const call = CALLS[operation](level);
  let started = 0;
  let done = 0;
  let total = 0;
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const start = () => {
      if (started === operations) return;
      const data = inputs[started++ % inputs.length];
      call(data, (error, output) => {
        if (error) return reject(error);
        total += encodes ? data.length : output.length;
        if (++done === operations) resolve({ seconds: (performance.now() - begin) / 1e3, operations: done, total });
        else start();
      });
    };
    for (let n = 0; n < request.in_flight; n++) start();
  });
}

const { node, zlib: zlibVersion, brotli } = process.versions;
say({ node, zlib: zlibVersion, brotli });
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    say(await answer(JSON.parse(line)));
  } catch (error) {
    say({ error: String(error) });
  }
}
