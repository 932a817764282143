// The basics by node-zookeeper-client: node basics.js HOST:PORT[,HOST:PORT...], with the package where node finds it (NODE_PATH). The
// variable RESTART may hold a command that kills the server and starts it again. Ends with 'N passed, M failed'.
'use strict';

const { exec } = require('child_process');
const zookeeper = require('node-zookeeper-client');

const { ACL, CreateMode, Event, Exception, Id, Permission, State } = zookeeper;
const servers = process.argv[2];
const root = `/node-${process.pid}-${Date.now().toString(36)}`;
const PATIENCE = 20000;

const nap = (ms) => new Promise((done) => setTimeout(done, ms));

/** What a call of the client answers, as a list; an error is thrown. */
const ask = (client, method, ...words) =>
  new Promise((done, failed) => client[method](...words, (error, ...answer) => (error ? failed(error) : done(answer))));

const require_ = (holds, why) => {
  if (!holds) throw new Error(why);
};
const same = (expected, actual) =>
  require_(JSON.stringify(expected) === JSON.stringify(actual), `expected ${JSON.stringify(expected)}, not ${JSON.stringify(actual)}`);
const refused = async (code, call) => {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof Exception)) throw error;
    same(code, error.getCode());
    return;
  }
  throw new Error(`not refused with ${code}`);
};
const eventually = async (what, holds) => {
  for (const until = Date.now() + PATIENCE; !(await holds()); await nap(20)) require_(Date.now() < until, `never came: ${what}`);
};

async function connect() {
  const client = zookeeper.createClient(servers, { sessionTimeout: 10000, spinDelay: 100, retries: 3 });
  await new Promise((done, failed) => {
    client.once('connected', done);
    setTimeout(() => failed(new Error(`no connection to ${servers}`)), PATIENCE).unref();
    client.connect();
  });
  return client;
}

const KINDS = { [Event.NODE_CREATED]: 'created', [Event.NODE_DELETED]: 'deleted', [Event.NODE_DATA_CHANGED]: 'changed',
  [Event.NODE_CHILDREN_CHANGED]: 'child' };
/** A watcher, and what it was told. */
function watcher() {
  const told = [];
  const watch = (event) => told.push(`${KINDS[event.getType()]} ${event.getPath().slice(root.length)}`);
  return { told, watch };
}
const hears = async (told, ...expected) => {
  await eventually(`${expected}, only ${told}`, () => told.length >= expected.length);
  await nap(100);
  same(expected, told);
};

const long = (buffer) => buffer.readBigInt64BE(0);
const text = (data) => Buffer.from(data);

const checks = {
  async 'create of every mode'(client) {
    await ask(client, 'create', `${root}/modes`);
    for (const [name, mode] of Object.entries(CreateMode)) {
      const wanted = `${root}/modes/${name}-`;
      const [made] = await ask(client, 'create', wanted, text('data'), mode);
      require_(name.includes('SEQUENTIAL') ? /-\d{10}$/.test(made) : made === wanted, `made as ${made}`);
      const [stat] = await ask(client, 'exists', made);
      same(name.startsWith('EPHEMERAL') ? long(client.getSessionId()).toString() : '0', long(stat.ephemeralOwner).toString());
      if (name.startsWith('EPHEMERAL')) {
        await refused(Exception.NO_CHILDREN_FOR_EPHEMERALS, () => ask(client, 'create', `${made}/child`));
      }
    }
    await refused(Exception.NODE_EXISTS, () => ask(client, 'create', `${root}/modes`));
    await refused(Exception.NO_NODE, () => ask(client, 'create', `${root}/none/child`));
    await ask(client, 'mkdirp', `${root}/deep/down/there`);
    require_((await ask(client, 'exists', `${root}/deep/down/there`))[0] !== null, 'not made with its parents');
    await refused(Exception.NOT_EMPTY, () => ask(client, 'remove', `${root}/deep`));
    for (const below of ['/down/there', '/down', '']) await ask(client, 'remove', `${root}/deep${below}`);
    same(null, (await ask(client, 'exists', `${root}/deep`))[0]);
  },

  async 'data and versions'(client) {
    const at = `${root}/data`;
    await ask(client, 'create', at, text('one'));
    const [data, stat] = await ask(client, 'getData', at);
    same(['one', 0, 3], [data.toString(), stat.version, stat.dataLength]);
    same(1, (await ask(client, 'setData', at, text('two'), 0))[0].version);
    await refused(Exception.BAD_VERSION, () => ask(client, 'setData', at, text('three'), 0));
    const large = Buffer.alloc(1000000, 'a long line of no meaning;');
    await ask(client, 'setData', at, large);
    require_(large.equals((await ask(client, 'getData', at))[0]), 'other data');
    await ask(client, 'setData', at, Buffer.alloc(0));
    same(0, (await ask(client, 'exists', at))[0].dataLength);
    await refused(Exception.BAD_VERSION, () => ask(client, 'remove', at, 7));
    await ask(client, 'remove', at, 3);
    await refused(Exception.NO_NODE, () => ask(client, 'getData', at));
    await refused(Exception.NO_NODE, () => ask(client, 'remove', at));
  },

  async 'children'(client) {
    const at = `${root}/family`;
    await ask(client, 'create', at);
    await Promise.all(Array.from({ length: 30 }, () => ask(client, 'create', `${at}/n-`, CreateMode.PERSISTENT_SEQUENTIAL)));
    const [names, stat] = await ask(client, 'getChildren', at);
    same(Array.from({ length: 30 }, (_, i) => `n-${String(i).padStart(10, '0')}`), names.sort());
    same(30, stat.numChildren);
    await refused(Exception.NOT_EMPTY, () => ask(client, 'remove', at));
  },

  async 'watches'(client) {
    const at = `${root}/watched`;
    const [exists, data, children, gone] = [watcher(), watcher(), watcher(), watcher()];
    same(null, (await ask(client, 'exists', at, exists.watch))[0]);
    await ask(client, 'create', at);
    await hears(exists.told, 'created /watched');
    await ask(client, 'getData', at, data.watch);
    await ask(client, 'getChildren', at, children.watch);
    await ask(client, 'create', `${at}/child`);
    await hears(children.told, 'child /watched');
    await ask(client, 'setData', at, text('1'));
    await ask(client, 'setData', at, text('2'));
    await hears(data.told, 'changed /watched');
    await ask(client, 'getData', `${at}/child`, gone.watch);
    await ask(client, 'remove', `${at}/child`);
    await hears(gone.told, 'deleted /watched/child');
    await hears(exists.told, 'created /watched');
  },

  async 'transactions'(client) {
    const at = `${root}/multi`;
    await ask(client, 'create', at, text('0'));
    const [results] = await ask(client.transaction().check(at, 0).create(`${at}/a`, text('a'), CreateMode.EPHEMERAL)
      .create(`${at}/n-`, CreateMode.PERSISTENT_SEQUENTIAL).setData(at, text('1'), 0).remove(`${at}/a`), 'commit');
    same(5, results.length);
    same([`${at}/a`, `${at}/n-0000000001`, 1], [results[1].path, results[2].path, results[3].stat.version]);
    same(['n-0000000001'], (await ask(client, 'getChildren', at))[0]);
    await refused(Exception.BAD_VERSION, () =>
      ask(client.transaction().setData(at, text('2')).check(at, 1).remove(`${at}/none`), 'commit'));
    same('1', (await ask(client, 'getData', at))[0].toString());
  },

  async 'ACL and authentication'(client) {
    const at = `${root}/secret`;
    await refused(Exception.INVALID_ACL, () => ask(client, 'create', at, text('s'), ACL.CREATOR_ALL_ACL));
    const friend = await connect();
    friend.addAuthInfo('digest', text('u:p'));
    await ask(friend, 'create', at, text('s'), ACL.CREATOR_ALL_ACL);
    const [acls] = await ask(friend, 'getACL', at);
    same([1, 'digest', true, Permission.ALL], [acls.length, acls[0].id.scheme, acls[0].id.id.startsWith('u:'), acls[0].permission]);
    await eventually('the other server has it', async () => {
      try {
        await ask(client, 'getData', at);
      } catch (error) {
        return error.getCode() === Exception.NO_AUTH;
      }
      return false;
    });
    await refused(Exception.NO_AUTH, () => ask(client, 'setData', at, text('t')));
    await refused(Exception.BAD_VERSION, () => ask(friend, 'setACL', at, ACL.OPEN_ACL_UNSAFE, 5));
    await ask(friend, 'setACL', at, [new ACL(Permission.READ, new Id('world', 'anyone'))], 0);
    await eventually('it may be read', () => ask(client, 'getData', at).then(() => true, () => false));
    await refused(Exception.NO_AUTH, () => ask(client, 'setData', at, text('t')));
    friend.close();
  },

  async 'ephemerals go with their session'(client) {
    const at = `${root}/ephemeral`;
    const other = await connect();
    await ask(other, 'create', at, CreateMode.EPHEMERAL);
    const { told, watch } = watcher();
    await eventually('it is there', async () => (await ask(client, 'exists', at))[0] !== null);
    await ask(client, 'exists', at, watch);
    other.close();
    await hears(told, 'deleted /ephemeral');
    same(null, (await ask(client, 'exists', at))[0]);
  },

  async 'a cut connection is made again, with its session'(client) {
    const at = `${root}/cut`;
    const other = await connect();
    await ask(other, 'create', at, CreateMode.EPHEMERAL);
    const id = long(other.getSessionId());
    const { told, watch } = watcher();
    await ask(other, 'getData', at, watch);
    const back = new Promise((done) => other.once('connected', done));
    other.connectionManager.socket.destroy();
    await back;
    same(id.toString(), long(other.getSessionId()).toString());
    same(id.toString(), long((await ask(other, 'exists', at))[0].ephemeralOwner).toString());
    await ask(client, 'setData', at, text('1'));
    await hears(told, 'changed /cut');
    other.close();
    await eventually('it is gone', async () => (await ask(client, 'exists', at))[0] === null);
  },
};
if (process.env.RESTART) {
  checks['a server that is killed is found again'] = async (client) => {
    const at = `${root}/restarted`;
    await ask(client, 'create', at, CreateMode.EPHEMERAL);
    const id = long(client.getSessionId());
    const { told, watch } = watcher();
    await ask(client, 'getData', at, watch);
    await new Promise((done, failed) => exec(process.env.RESTART, (error) => (error ? failed(error) : done())));
    await eventually('it is answered', async () => {
      try {
        return (await ask(client, 'exists', at))[0] !== null;
      } catch (error) {
        return false;
      }
    });
    same([id.toString(), State.SYNC_CONNECTED.getName()], [long(client.getSessionId()).toString(), client.getState().getName()]);
    await eventually('it is written', () => ask(client, 'setData', at, text('1')).then(() => true, () => false));
    await hears(told, 'changed /restarted');
  };
}

async function main() {
  const client = await connect();
  await ask(client, 'create', root);
  let [passed, failed] = [0, 0];
  for (const [name, body] of Object.entries(checks)) {
    try {
      await Promise.race([body(client), nap(60000).then(() => Promise.reject(new Error('no end after 60 s')))]);
      passed += 1;
      console.log(`ok node-zookeeper-client: ${name}`);
    } catch (error) {
      failed += 1;
      const line = /basics\.js:(\d+)/.exec(String(error.stack).split('\n').filter((l) => !/ask|same|require_/.test(l)).join('\n'));
      console.log(`FAILED node-zookeeper-client: ${name}: ${error.message || error}${line ? ` (line ${line[1]})` : ''}`);
    }
  }
  client.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

main().catch((error) => {
  console.log(`FAILED node-zookeeper-client: ${error.message}\n0 passed, 1 failed`);
  process.exit(1);
});
