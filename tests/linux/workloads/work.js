// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const quick = process.argv[2] === 'quick';
const scale = quick ? 1 : 8;
const digest = (x) => crypto.createHash('sha256').update(typeof x === 'string' || Buffer.isBuffer(x) ? x : JSON.stringify(x)).digest('hex').slice(0, 16);

function* lcg(seed) {
  for (;;) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    yield seed;
  }
}

class Vec {
  constructor(x, y, z) { this.x = x; this.y = y; this.z = z; }
  add(o) { return new Vec(this.x + o.x, this.y + o.y, this.z + o.z); }
  cross(o) { return new Vec(this.y * o.z - this.z * o.y, this.z * o.x - this.x * o.z, this.x * o.y - this.y * o.x); }
  scale(k) { return new Vec(this.x * k, this.y * k, this.z * k); }
}

function numbers() {
  let v = new Vec(1, 2, 3), w = new Vec(0.3, -0.2, 0.1), h = 0;
  for (let i = 0; i < 20000 * scale; i++) {
    v = v.cross(w).add(new Vec(1, i % 7, -1)).scale(0.5);
    h = (Math.imul(h, 31) + (v.x * 1000 | 0)) | 0;
  }
  const f = new Float64Array(10000).map((_, i) => Math.sqrt(i) * Math.sin(i) + Math.exp(-i / 1000) + Math.atan2(i, 3));
  let s = 0;
  for (const x of f) s += x;
  return [h, s, Math.hypot(3, 4), 0.1 + 0.2, 1e21 + 1, (123.456).toFixed(2), (255).toString(2), parseFloat('1e-7')];
}

function typed() {
  const a = new Uint32Array(4096), b = new Int16Array(4096), c = new Uint8ClampedArray(4096);
  for (let r = 0; r < 10 * scale; r++)
    for (let i = 0; i < a.length; i++) {
      a[i] = Math.imul(a[i] ^ i, 2654435761) + r;
      b[i] += a[i] >>> 13;
      c[i] = b[i] >> 4;
    }
  return [digest(Buffer.from(a.buffer)), digest(Buffer.from(b.buffer)), digest(Buffer.from(c.buffer))];
}

function strings() {
  const g = lcg(7), words = [];
  for (let i = 0; i < 4000 * scale; i++) words.push((g.next().value >>> 8).toString(36));
  const text = words.join(' ');
  return [digest(text), digest(text.replace(/([a-m])(\w)/g, '$2$1')), (text.match(/\b\w*?(\d)\w*\1\b/gu) || []).length,
    digest(words.slice().sort()), digest(words.map((x) => x.padStart(9, '-').toUpperCase())), digest(JSON.stringify(JSON.parse(JSON.stringify({ words }))))];
}

function objects() {
  const g = lcg(9), m = new Map(), o = {};
  for (let i = 0; i < 10000 * scale; i++) {
    const k = g.next().value % 5000;
    m.set(k, (m.get(k) || 0) + 1);
    o['k' + (k % 300)] = { k, prev: o['k' + (k % 300)] && o['k' + (k % 300)].k };
  }
  const closures = [...Array(100).keys()].map((i) => (x) => x * i + 1);
  return [digest([...m].sort((a, b) => a[0] - b[0])), digest(o), closures.reduce((x, f) => f(x) % 1000003, 1)];
}

function bigints() {
  let x = 1n;
  for (let i = 1n; i < 400n; i++) x *= i;
  return [digest(x.toString()), (x % 1000000007n).toString(), (2n ** 521n - 1n).toString(16).length, BigInt.asIntN(64, x + 12345n).toString()];
}

// (module (func (export "f") (param i32) (result i32) (local i32)
//   loop: local1 = (local1 ^ param) * 0x01000193; param = param - 1; br_if param; local1)
function wasm() {
  if (typeof WebAssembly === 'undefined') return ['-'];
  const bytes = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 33, 1, 31, 1, 1, 127,
    3, 64, 32, 1, 32, 0, 115, 65, 147, 131, 128, 8, 108, 33, 1, 32, 0, 65, 1, 107, 34, 0, 13, 0, 11, 32, 1, 11]);
  bytes[28] = bytes.length - 29;
  bytes[30] = bytes.length - 31;
  const f = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f;
  return [f(1), f(1000), f(3000000)];
}

function exceptions() {
  let n = 0;
  for (let i = 0; i < 2000 * scale; i++) {
    try {
      if (i % 3 === 0) null.x;
      if (i % 3 === 1) throw new RangeError('r');
      n += 1;
    } catch (e) {
      n += e instanceof TypeError ? 10 : 100;
    }
  }
  return [n, eval('1+' + n), new Function('a', 'return a * 2')(21)];
}

function packed() {
  const data = Buffer.from([...Array(30000).keys()].map((i) => (i * i >> 5) & 255));
  return [digest(zlib.gunzipSync(zlib.gzipSync(data))), digest(zlib.brotliDecompressSync(zlib.brotliCompressSync(data))), digest(zlib.deflateRawSync(data)),
    crypto.createHmac('sha512', 'k').update(data).digest('hex').slice(0, 16), crypto.pbkdf2Sync('p', 's', 500, 16, 'sha256').toString('hex')];
}

if (isMainThread) {
  for (const f of [numbers, typed, strings, objects, bigints, wasm, exceptions, packed]) console.log(f.name, ...f());
  const shared = new Int32Array(new SharedArrayBuffer(8));
  let running = quick ? 1 : 3;
  for (let i = running; i > 0; i--)
    new Worker(__filename, { workerData: shared }).on('exit', (code) => {
      if (code) console.log('worker failed');
      if (--running === 0) console.log('workers', shared[0], shared[1]);
    });
} else {
  for (let i = 0; i < 50000; i++) {
    Atomics.add(workerData, 0, 1);
    while (Atomics.compareExchange(workerData, 1, workerData[1], workerData[1]) === -1);
  }
  parentPort.close();
}
