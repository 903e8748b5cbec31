// Node's dns.lookup as a peer, in callback form. The protocol and the work are dns_peer.py's; a lookup takes no port.
import dns from 'node:dns';
import readline from 'node:readline';

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

function rate({ operation, operations, in_flight: inFlight }) {
  const host = operation === 'numeric' ? '127.0.0.1' : 'localhost';
  let started = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const after = (error, found) => {
      if (error || !found[0].address) return reject(error || new Error('no address'));
      if (++done === operations) resolve({ seconds: (performance.now() - begin) / 1e3, operations, total: done });
      else start();
    };
    const start = () => { if (started < operations) { started++; dns.lookup(host, { all: true }, after); } };
    for (let n = 0; n < inFlight; n++) start();
  });
}

say({ node: process.versions.node, libuv: process.versions.uv });
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    say(await rate(JSON.parse(line)));
  } catch (error) {
    say({ error: String(error) });
  }
}
