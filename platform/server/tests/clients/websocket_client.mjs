// A client of WebSockets with the interface that browsers have: Node's own (undici), which talks to `websocket_server.py`
// through the load balancer.
//
//     node websocket_client.mjs ORIGIN
//
// Node 22 and later have it at once, from 20.10 on with --experimental-websocket. For wss, NODE_EXTRA_CA_CERTS names whom to
// trust. It prints a line for each check that held, and ends with the first that does not; all of them together have their
// patience.

const PATIENCE_MS = 55_000;
const MESSAGE_BYTES = 1 << 20;

const [origin] = process.argv.slice(2);
setTimeout(() => fail(new Error("its patience is over")), PATIENCE_MS).unref();

function fail(error) {
  console.error(error);
  process.exit(1);
}

function equal(actual, expected) {
  const [one, other] = [actual, expected].map((value) => JSON.stringify(value)?.slice(0, 2_000));
  if (actual !== expected && one !== other) throw new Error(`${one}, not ${other}`);
}

/** What happens on a socket, one thing after another. */
class Talk {
  constructor(path, protocols = []) {
    this.socket = new WebSocket(origin + path, protocols);
    this.socket.binaryType = "arraybuffer";
    this.happened = [];
    this.waiting = [];
    for (const kind of ["open", "message", "close", "error"]) {
      this.socket.addEventListener(kind, (event) => {
        const next = this.waiting.shift();
        if (next) next(event);
        else this.happened.push(event);
      });
    }
  }

  /** The next thing, which must be of this kind. */
  async next(kind) {
    const event = this.happened.shift() ?? (await new Promise((resolve) => this.waiting.push(resolve)));
    if (event.type !== kind) throw new Error(`${event.type} (${event.code ?? event.message ?? ""}), not ${kind}`);
    return event;
  }

  static async open(path, protocols) {
    const talk = new Talk(path, protocols);
    await talk.next("open");
    return talk;
  }

  async comesBack(text) {
    this.socket.send(text);
    equal((await this.next("message")).data === text, true);
  }

  async bytesComeBack(bytes) {
    this.socket.send(bytes);
    const back = (await this.next("message")).data;
    equal(Buffer.compare(Buffer.from(back), Buffer.from(bytes)), 0);
  }

  async close(code, reason) {
    this.socket.close(code, reason);
    return await this.next("close");
  }
}

const checks = {
  async text() {
    const talk = await Talk.open("/echo");
    for (const text of ["hello", "", "zwei Wörter – 二 🚀", "x".repeat(126), "x".repeat(65_536), "x".repeat(MESSAGE_BYTES)]) {
      await talk.comesBack(text);
    }
    equal((await talk.close()).wasClean, true);
  },

  async bytes() {
    const talk = await Talk.open("/echo");
    const all = Uint8Array.from({ length: 256 }, (_, index) => index);
    await talk.bytesComeBack(all);
    await talk.bytesComeBack(new Uint8Array(0));
    await talk.bytesComeBack(new Uint8Array(MESSAGE_BYTES).map((_, index) => index * index));
    talk.socket.binaryType = "blob";
    talk.socket.send(new Blob([all]));
    const blob = (await talk.next("message")).data;
    equal([...new Uint8Array(await blob.arrayBuffer())], [...all]);
    await talk.close();
  },

  async fragments() {
    const talk = await Talk.open("/fragments");
    await talk.comesBack("in four parts");
    await talk.comesBack("x".repeat(MESSAGE_BYTES));
    await talk.close();
  },

  async pings() {
    const talk = await Talk.open("/ping");
    for (let number = 0; number < 5; number++) await talk.comesBack(`message ${number}`);
    await talk.close();
  },

  async subprotocols() {
    const talk = await Talk.open("/echo", ["skiff.one", "skiff.three"]);
    equal(talk.socket.protocol, "skiff.one");
    await talk.close();
  },

  async closeCodes() {
    for (const code of [1000, 1001, 1011, 3000, 4999]) {
      const talk = await Talk.open(`/close?${code}`);
      const event = await talk.next("close");
      equal([event.code, event.reason, event.wasClean], [code, "as told", true]);
    }
    for (const [code, reason] of [[1000, ""], [4000, "größer ".repeat(10)]]) {
      const name = crypto.randomUUID();
      const event = await (await Talk.open(`/closed?${name}`)).close(code, reason);
      equal([event.code, event.wasClean], [code, true]);
      const how = await Talk.open(`/how?${name}`);
      equal(JSON.parse((await how.next("message")).data), [code, reason]);
    }
  },

  async refused() {
    const talk = new Talk("/nothing-of-the-kind");
    await talk.next("error");
  },

  async many() {
    const one = async (number) => {
      const talk = await Talk.open("/echo");
      for (let turn = 0; turn < 20; turn++) await talk.comesBack(`${number} says ${turn}`);
      await talk.close();
    };
    await Promise.all(Array.from({ length: 40 }, (_, number) => one(number)));
  },
};

try {
  for (const [name, check] of Object.entries(checks)) {
    console.log(`${name} ...`);
    await check();
    console.log(`${name} holds`);
  }
} catch (error) {
  fail(error);
}
process.exit(0);
