// HTTP: an error's JSON, a wait, a watch.
const http = require('node:http');
const readline = require('node:readline');

const path = (variable) => process.env[variable].replace('unix://', '');
const agent = path('POINTSMAN_SOCKET');
const silent = path('POINTSMAN_SILENT_SOCKET');

const send = (options, body) =>
  new Promise((resolve, reject) => {
    http.request(options, resolve).on('error', reject).end(body);
  });

async function pick(socketPath, request) {
  const options = { socketPath, path: '/v1/pick', method: 'POST' };
  const answer = await send(options, JSON.stringify(request));
  const body = (await answer.toArray()).join('');
  return { status: answer.statusCode, error: JSON.parse(body).error };
}

async function main() {
  let { status, error } = await pick(agent, { service: 'crat.shop' });
  const [{ reason, metadata }] = error.details;
  console.log('error', status, error.code, reason, metadata.near);

  ({ status, error } = await pick(silent, { service: 'cart.shop', wait: '0.2s' }));
  console.log('wait', status, error.code, error.details[0].reason);

  const watch = await send({ socketPath: agent, path: '/v1/services/changing.shop?watch=true' });
  const events = [];
  for await (const line of readline.createInterface({ input: watch })) {
    events.push(JSON.parse(line).type);
    if (events.length === 2) break;
  }
  console.log('watch', ...events);
  watch.destroy();
}

main();
