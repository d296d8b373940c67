// What ../calls.py does, in Node.js.
const { setTimeout: sleep } = require('node:timers/promises');
const { parseArgs } = require('node:util');

const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

// See ../calls.py.
const DEADLINE = 20_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    number: { type: 'string', default: 'Infinity' },
    pause: { type: 'string', default: '5' },
    path: { type: 'string', default: '/echo/Call' },
  },
});

const raw = (bytes) => bytes;

function call(client) {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + DEADLINE };
    client.makeUnaryRequest(values.path, raw, raw, Buffer.alloc(0), options, (error, answer) => {
      resolve(error ? [grpc.status[error.code], ...error.details.split(/\s+/)].join(' ') : answer.toString());
    });
  });
}

async function main() {
  for (const target of positionals) {
    const client = new grpc.Client(target, grpc.credentials.createInsecure());
    for (let n = 0; n < Number(values.number); n++) {
      const began = Date.now();
      const said = await call(client);
      console.log(began, Date.now() - began, said);
      await sleep(Number(values.pause));
    }
    // Closing it before the next one opens would leave a stream to the control plane open, each time: the end of
    // the old stream makes grpc-js-xds forget the new one. A connection has four streams.
  }
  // A client of xDS keeps the program alive, even when it is closed.
  process.exit();
}

main();
