// Node's crypto as a peer, in callback form. The protocol and the work are crypto_peer.py's.
import crypto from 'node:crypto';
import readline from 'node:readline';

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const DATA = Buffer.alloc(1024, 7);
const PEM = { publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } };
const calls = {
  pbkdf2: (done) => crypto.pbkdf2('password', 'salt', 20_000, 32, 'sha256', done),
  scrypt: (done) => crypto.scrypt('password', 'salt', 32, done),
  'pair ed25519': (done) => crypto.generateKeyPair('ed25519', {}, done),
  'pair ed25519 pem': (done) => crypto.generateKeyPair('ed25519', PEM, done),
  'random 64 B': (done) => crypto.randomBytes(64, done),
};
const pairs = {
  ed25519: crypto.generateKeyPairSync('ed25519'),
  ec: crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
for (const [kind, { publicKey, privateKey }] of Object.entries(pairs)) {
  const digest = kind === 'ed25519' ? null : 'sha256';
  const signature = crypto.sign(digest, DATA, privateKey);
  calls[`sign ${kind}`] = (done) => crypto.sign(digest, DATA, privateKey, done);
  calls[`verify ${kind}`] = (done) => crypto.verify(digest, DATA, publicKey, signature, done);
}

function rate({ operation, operations, in_flight: inFlight }) {
  const call = calls[operation];
  let started = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const after = (error, result) => {
      if (error || !result) return reject(error || new Error('a wrong answer'));
      if (++done === operations) resolve({ seconds: (performance.now() - begin) / 1e3, operations, total: done });
      else start();
    };
    const start = () => { if (started < operations) { started++; call(after); } };
    for (let n = 0; n < inFlight; n++) start();
  });
}

say({ node: process.versions.node, openssl: process.versions.openssl });
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    say(await rate(JSON.parse(line)));
  } catch (error) {
    say({ error: String(error) });
  }
}
