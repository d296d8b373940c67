// gRPC: the details of an error, a deadline, a watch.
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');
const googleProtos = require('google-proto-files').getProtoPath('..');

const ours = loadSync('pointsman/v1/agent.proto', { includeDirs: ['proto'], enums: String });
const { Agent } = grpc.loadPackageDefinition(ours).pointsman.v1;
const rpc = loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], {
  includeDirs: [googleProtos],
});

const connect = (variable) => new Agent(process.env[variable], grpc.credentials.createInsecure());
const pick = (client, request, options = {}) =>
  new Promise((resolve, reject) => {
    client.pick(request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

function info(error) {
  const [encoded] = error.metadata.get('grpc-status-details-bin');
  const { details } = rpc['google.rpc.Status'].deserialize(encoded);
  const found = details.find(({ type_url }) => type_url.endsWith('/google.rpc.ErrorInfo'));
  return rpc['google.rpc.ErrorInfo'].deserialize(found.value);
}

async function main() {
  const agent = connect('POINTSMAN_SOCKET');
  const silent = connect('POINTSMAN_SILENT_SOCKET');

  await pick(agent, { service: 'crat.shop' }).catch((error) => {
    const { reason, metadata } = info(error);
    console.log('error', grpc.status[error.code], reason, metadata.near);
  });

  await pick(silent, { service: 'cart.shop', wait: { nanos: 200e6 } }).catch((error) => {
    console.log('wait', grpc.status[error.code], info(error).reason);
  });

  const began = Date.now();
  const deadline = began + 500;
  await pick(silent, { service: 'cart.shop', wait: { seconds: 5 } }, { deadline }).catch((error) => {
    console.log('deadline', grpc.status[error.code], Date.now() - began, 'ms');
  });

  const events = [];
  const watch = agent.watchService({ service: 'changing.shop' });
  for await (const event of watch) {
    events.push(event.type);
    if (events.length === 2) break;
  }
  console.log('watch', ...events);
  watch.cancel();
  agent.close();
  silent.close();
}

main();
